# make demo    the main job, end to end, on a private PostgreSQL
# make test    the tests
# make lint    ruff, mypy and pyright
# make bench   the benchmarks, about twenty minutes; BENCH passes options on: BENCH=--quick
# make clean   remove what the others made here
#
# Both set up their own virtual environment first. VENV and PACKAGE choose another one, or an installed wheel.

VENV ?= .venv
PACKAGE ?= -e '.[dev]'
PYTEST ?=

BIN = $(VENV)/bin
# An editable install is a link tree that knows no file that came later: the stamp's name tells the list of files.
FILES := $(shell find src models repositories services alembic -name '*.py' | LC_ALL=C sort | cksum | cut -d' ' -f1)
STAMP = $(VENV)/.installed-$(FILES)

.DELETE_ON_ERROR:
.PHONY: demo test lint install clean

demo: $(STAMP)
	@$(BIN)/pgcorpus demo

test: $(STAMP)
	@$(BIN)/pytest $(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# On a copy: pyright leaves out the link tree of an editable install, and says nothing.
	@copy=$$(mktemp -d) && cp -rL "$$($(BIN)/python -c 'import pgcorpus; print(*pgcorpus.__path__)')" "$$copy" \
	&& $(BIN)/pyright --pythonpath $(BIN)/python "$$copy"; code=$$?; rm -rf "$$copy"; exit $$code

.PHONY: bench
bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(BENCH)

install: $(STAMP)

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $$(./.ci/python) -m venv $(VENV)
	@echo "installing into $(VENV) (about half a minute the first time)"
	@rm -rf build
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PACKAGE)
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
