"""What README and docs print is run as it is printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.cli.main import cli
from pgcorpus.database import session_factory
from pgcorpus.errors import FilterError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, compile_filter

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_example_runs_as_printed(reachable_directory: Path, tmp_path: Path) -> None:
    example = blocks(README, "python")[0]
    environment = os.environ | {"PGCORPUS_DATA_DIR": str(reachable_directory / "readme")}
    code = example.replace("EmbeddedServer()", "EmbeddedServer(Path(os.environ['PGCORPUS_DATA_DIR']))")
    assert code != example
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import os\nfrom pathlib import Path\n" + code],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert [line.split()[1] for line in run.stdout.splitlines()] == ["pears", "apples"]


def test_the_other_blocks_of_the_readme_run(engine: Engine) -> None:
    names: dict[str, object] = {}
    for block in blocks(README, "python")[1:]:
        exec(compile(block, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    with session_factory(engine)() as session:
        vector = np.eye(1, 1536)[0]
        DocumentRepository(session, "mine", "acme").add(
            Document(content="x", source="wiki", meta={"year": 2024}, embedding=vector)
        )
        assert names["nearest"](session, vector)[0].content == "x"  # type: ignore[operator]
        assert [hit.document.content for hit in names["recent"](session, vector)] == ["x"]  # type: ignore[operator]
        assert names["load"](session, iter([{"content": "pear", "embedding": vector}])) == 1  # type: ignore[operator]
        hits = names["ask"](session, "a pear", vector)  # type: ignore[operator]
        assert [hit.document.content for hit in hits] == ["pear", "x"]


# Run by test_plain_psycopg.py, test_rag_page.py and test_writing.py, which have what these pages' blocks begin with;
# and by tests/hosts, which follow a framework's page in an empty folder.
ELSEWHERE = ("django.md", "fastapi.md", "flask.md", "psycopg.md", "rag.md", "writing.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_the_python_of_the_docs_runs(page: Path, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, object] = {}
    for block in blocks(page.read_text(), "python"):
        exec(compile(block, page.name, "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    if page.name == "filters.md":
        assert compile_filter(names["where"], Document) is not None  # type: ignore[arg-type]


def test_the_functions_of_the_search_page_do_what_it_says(engine: Engine) -> None:
    names: dict[str, Any] = {}
    for block in blocks((CHECKOUT / "docs/search.md").read_text(), "python"):
        exec(compile(block, "search.md", "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    names["Base"].metadata.create_all(engine)
    vectors = np.eye(40, 1536)
    with session_factory(engine)() as session:
        handbook = DocumentRepository(session, "handbook")
        for tenant in ("acme", "default"):
            added = DocumentRepository(session, "handbook", tenant).add_many(
                [
                    Document(
                        content=f"text {i}", source="wiki", position=i, meta={"kind": "faq", "year": 2024}, embedding=v
                    )
                    for i, v in enumerate(vectors)
                ]
            )
        assert names["search"](session, vectors[3])[0] == (1.0, "wiki", "text 3")
        assert list(names["answers_of_different_pages"](session, vectors[3])) == ["text 2 text 3 text 4"]
        answers, similar = names["many"](session, vectors[:2], added[0].id)
        assert [hits[0].document.content for hits in answers] == ["text 0", "text 1"]
        assert "text 0" not in [hit.document.content for hit in similar]
        assert names["why"](session, vectors[0])[2]
        number, items, following, sources = names["browse"](session)
        assert (number, len(items), following, sources[0].count) == (40, 40, None, 40)
        assert handbook.count() == 40
        session.add(names["Product"](name="x", price=5, look=np.eye(1, 512)[0]))
        session.flush()
        assert names["cheap_and_alike"](session, np.eye(1, 512)[0])[0].document.name == "x"


def test_the_filter_error_in_the_docs_is_the_one_raised() -> None:
    printed = re.search(r"such as `(where[^`]*)`", (CHECKOUT / "docs/filters.md").read_text())
    assert printed
    with pytest.raises(FilterError) as caught:
        compile_filter({"$or": [{"source": "x"}, {"source": 1}]}, Document)
    assert " ".join(printed[1].split()) == str(caught.value)


def test_the_commands_of_the_readme_exist_with_their_options() -> None:
    for line in "\n".join(blocks(README, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["pgcorpus"]:
            cli.make_context("pgcorpus", words[1:]).close()


def test_every_link_leads_to_a_file() -> None:
    for page in [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *PAGES]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
