"""The demo's corpus is large, public, labelled, and the same every time."""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter

import pytest

from pgcorpus.cli import stdlib_docs
from pgcorpus.cli.stdlib_docs import stdlib_sources
from pgcorpus.errors import SourceError
from pgcorpus.services.chunking import MAX_CHARS, Passage


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Passage]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {source.name: source.passages() for source in stdlib_sources()}


def by_name(corpus: dict[str, list[Passage]], name: str) -> Passage:
    """The first passage about a name; it must be in the source of its module."""
    for source, passages in corpus.items():
        for passage in passages:
            if passage.metadata["name"] == name:
                assert source == f"python:{passage.metadata['module']}"
                return passage
    raise AssertionError(f"{name} is not in the corpus")


def test_the_corpus_has_the_size_of_a_real_one(corpus: dict[str, list[Passage]]) -> None:
    """At least 5,000 passages of all four kinds, on every supported Python."""
    passages = [passage for passages in corpus.values() for passage in passages]
    kinds = Counter(passage.metadata["kind"] for passage in passages)
    assert len(passages) >= 5000
    assert set(kinds) == {"module", "class", "function", "method"}
    assert min(kinds.values()) > 200


def test_a_passage_begins_with_what_it_is_about(corpus: dict[str, list[Passage]]) -> None:
    """The name, signature, kind and module stand in the text that is embedded, and in the metadata."""
    passage = by_name(corpus, "json.dumps")
    first, _, doc = passage.content.partition("\n\n")
    assert first.startswith("json.dumps(obj, *, skipkeys=False,")
    assert first.endswith(") — function in module json")
    assert doc.startswith("Serialize ``obj`` to a JSON formatted ``str``.")
    assert passage.metadata == {"module": "json", "kind": "function", "name": "json.dumps"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("shutil", "module"),
        ("shutil.copytree", "function"),
        ("json.decoder.JSONDecoder.raw_decode", "method"),
        ("math.gcd", "function"),  # compiled
        ("builtins.str.split", "method"),
        ("collections.deque", "class"),  # shown by a public module, defined by a private compiled one
        ("datetime.datetime.fromisoformat", "method"),
        ("os.stat", "function"),
        ("pathlib.Path.read_text", "method"),  # in a private Python file since 3.13
        ("concurrent.futures.Executor.submit", "method"),
        ("posixpath.join", "function"),
    ],
)
def test_well_known_names_are_documented(corpus: dict[str, list[Passage]], name: str, kind: str) -> None:
    """What users know by its public name is found by it, wherever it is implemented."""
    assert by_name(corpus, name).metadata["kind"] == kind


def test_passages_are_short_distinct_and_storable(corpus: dict[str, list[Passage]]) -> None:
    """None is too long, none comes twice, none holds a NUL."""
    contents = [passage.content for passages in corpus.values() for passage in passages]
    assert len(contents) == len(set(contents))
    assert all(len(content) <= MAX_CHARS and "\0" not in content for content in contents)


def test_long_signatures_are_shortened_and_long_docstrings_begin_alike(
    corpus: dict[str, list[Passage]],
) -> None:
    """Each part of a long docstring says what it is about, and no signature fills a passage."""
    parts = [part for part in corpus["python:argparse"] if part.metadata["name"] == "argparse"]
    assert len(parts) > 1
    assert all(part.content.startswith("argparse — module\n\n") for part in parts)
    leads = [part.content.partition("\n\n")[0] for passages in corpus.values() for part in passages]
    assert any("...) — " in lead for lead in leads)
    assert max(map(len, leads)) < 400


def test_private_names_tests_and_applications_are_left_out(corpus: dict[str, list[Passage]]) -> None:
    """A reader of documentation looks for neither."""
    for source in corpus:
        parts = source.removeprefix("python:").split(".")
        assert not {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "posix"} & set(parts)
        assert not any(part.startswith("_") for part in parts)
    for passages in corpus.values():
        for passage in passages:
            parts = passage.metadata["name"].split(".")
            assert not any(part.startswith("_") and not part.endswith("__") for part in parts)


def test_the_order_is_the_same_every_time(corpus: dict[str, list[Passage]]) -> None:
    """Sources are sorted, and a second reading gives the same passages."""
    sources = stdlib_sources()
    assert [source.name for source in sources] == sorted(corpus, key=lambda name: name.removeprefix("python:"))
    for source in sources[:40]:
        assert source.passages() == corpus[source.name]
    assert all(source.size >= 0 for source in sources)


def test_modules_of_the_standard_library_are_not_imported() -> None:
    """Python files are parsed: importing `this` prints a poem, `antigravity` opens a browser."""
    loaded = set(sys.modules)
    for source in stdlib_sources():
        if source.name in {"python:this", "python:antigravity", "python:turtle", "python:curses"}:
            source.passages()
    assert not {"this", "antigravity", "turtle", "tkinter"} & (set(sys.modules) - loaded)


def test_the_scan_is_lazy_and_quick() -> None:
    """Listing reads no file; reading all takes about two seconds, and twenty at the very most."""
    start = time.perf_counter()
    sources = stdlib_sources()
    assert time.perf_counter() - start < 2
    for source in sources:
        source.passages()
    assert time.perf_counter() - start < 20


def test_a_python_without_library_files_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Some distributions ship compiled files only; the message says what to do instead."""
    monkeypatch.setattr(stdlib_docs.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(SourceError, match="index a folder of your own"):
        stdlib_sources()
