"""What patterns ignore is left out of a folder, as Git would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.sources import HIDDEN, IGNORE_FILE, IGNORED, belongs_to, find_sources


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, text: str = "text") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def names(*paths: str, **options) -> list[str]:
    return [source.name for source in find_sources(paths, **options).sources]


def test_patterns_of_the_call_leave_out_files_and_folders() -> None:
    """Each is reported, a folder once; nothing in it is looked at."""
    write("docs/a.md", "docs/a.tmp", "docs/x.draft.md", "docs/drafts/b.md", "docs/c/drafts/d.md", "docs/c/e.md")
    write("docs/drafts/binary.txt", text="\0")
    found = find_sources(["docs"], ignore=("*.tmp", "*.draft.md", "drafts/"))
    assert [source.name for source in found.sources] == ["docs/a.md", "docs/c/e.md"]
    skipped = sorted(skipped.path for skipped in found.skipped)
    assert skipped == ["docs/a.tmp", "docs/c/drafts", "docs/drafts", "docs/x.draft.md"]
    assert {skipped.reason for skipped in found.skipped} == {IGNORED}


def test_a_pattern_alone_may_be_given_as_text() -> None:
    """Its letters are no patterns."""
    write("docs/a.md", "docs/b.md")
    assert names("docs", ignore="b.md") == ["docs/a.md"]


def test_patterns_of_a_file_hold_for_its_folder_and_below() -> None:
    """The nearest file decides, the last line that matches, and the call's patterns outdo them all."""
    write("docs/a.md", "docs/b.md", "docs/c/a.md", "docs/c/b.md", "docs/d/a.md", "docs/top.md", "docs/d/top.md")
    write(f"docs/{IGNORE_FILE}", text="# comment\n\na.md\n/top.md\nb.md\n!b.md\n")
    write(f"docs/c/{IGNORE_FILE}", text="!a.md\r\nb.md\r\n")
    expected = ["docs/b.md", "docs/c/a.md", "docs/d/top.md"]
    assert names("docs") == expected
    assert {skipped.reason for skipped in find_sources(["docs"]).skipped} == {IGNORED, HIDDEN}
    assert names("docs", ignore=("c", "!d/a.md")) == ["docs/b.md", "docs/d/a.md", "docs/d/top.md"]
    assert "docs/a.md" in names("docs", ignore_file=None)


def test_an_ignore_file_may_have_any_name_and_is_no_source() -> None:
    """Also one with a suffix that can be read."""
    write("docs/a.md", "docs/b.md")
    write("docs/ignored.txt", text="b.md")
    found = find_sources(["docs"], ignore_file="ignored.txt")
    assert [source.name for source in found.sources] == ["docs/a.md"]


def test_files_above_the_search_are_not_looked_for() -> None:
    """The same folder gives the same sources, wherever the call comes from."""
    write("docs/a.md")
    write(IGNORE_FILE, text="*.md")
    assert names("docs") == ["docs/a.md"]
    with pytest.raises(SourceError, match="holds nothing to read"):
        find_sources(["."])


def test_a_file_that_is_named_is_read_all_the_same() -> None:
    """Who names it wants it."""
    write("docs/a.tmp", "docs/b.md")
    assert names("docs/a.tmp", "docs", ignore=["*.tmp"]) == ["docs/a.tmp", "docs/b.md"]


def test_what_is_ignored_may_be_broken() -> None:
    """So a bad file no longer stops the call."""
    write("docs/a.md")
    Path("docs/broken.md").symlink_to("nothing")
    Path("docs", os.fsdecode(b"\xff.md")).write_text("text")
    Path("docs/b.txt").write_bytes(b"\xff")
    assert names("docs", ignore=["broken.md", "b.txt", "?.md", "!a.md"]) == ["docs/a.md"]


def test_an_ignored_file_belongs_to_its_folder_still() -> None:
    """So that an ingest deletes what was stored of it, as of a file that was removed."""
    write("docs/a.md", "docs/b.md")
    found = find_sources(["docs"], ignore=["b.md"])
    assert [source.name for source in found.sources] == ["docs/a.md"]
    assert belongs_to("docs/b.md", *found.roots)


def test_bad_patterns_are_named() -> None:
    """A file's with its path, also where it is no text."""
    write("docs/a.md")
    with pytest.raises(ConfigError, match=r"ignore= has a pattern that cannot be understood: .*'!'"):
        find_sources(["docs"], ignore=["*.tmp", "!"])
    write(f"docs/{IGNORE_FILE}", text="ok\n!\n")
    with pytest.raises(SourceError, match=rf"docs/{IGNORE_FILE} has a pattern"):
        find_sources(["docs"])
    Path("docs", IGNORE_FILE).write_bytes(b"\xff")
    with pytest.raises(SourceError, match=rf"docs/{IGNORE_FILE} is not UTF-8"):
        find_sources(["docs"])


# --- Beside Git itself

PATTERNS = st.sampled_from(
    ["a", "a/", "/a", "*.md", "!a.md", "b/**", "!b/a.md", "**/a.md", "a/**/b.md", "b/*", "!b/a", "[ab].md", "/b/a/",
     "?.md", "!c", "c", "a/b", "\\!x.md", "!*.md", "!/a/", "b/**/", "# a", "a.md ", "**", "!**/", "*", "!a", "x.*",
     "!b/"]
)  # fmt: skip
FOLDERS = ("", "a", "b", "a/b", "b/a", "b/a/c", "c")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@given(top=st.lists(PATTERNS, max_size=4), inner=st.lists(PATTERNS, max_size=3), folder=st.sampled_from(FOLDERS[1:]))
@settings(max_examples=80, deadline=None)
def test_the_same_files_are_left_out_as_by_git(
    tmp_path_factory: pytest.TempPathFactory, top: list[str], inner: list[str], folder: str
) -> None:
    """Files of patterns at the top and in one folder, of every kind that Git has."""
    root = tmp_path_factory.mktemp("tree")
    for each in FOLDERS:
        (root / each).mkdir(exist_ok=True)
        for name in ("a.md", "b.md", "x.md"):
            (root / each / name).write_text("text")
    (root / IGNORE_FILE).write_text("\n".join(top))
    (root / folder / IGNORE_FILE).write_text("\n".join(inner))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", f"--exclude-per-directory={IGNORE_FILE}", "*.md"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = find_sources([root], empty_folders=True).sources
    assert sorted(source.name.removeprefix(f"{root}/") for source in found) == sorted(listed.stdout.split())
