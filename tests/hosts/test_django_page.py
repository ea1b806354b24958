"""The page on Django is followed as it is printed, in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.support.django_sites import Site

PAGE = Path(__file__).parents[2] / "docs" / "django.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

# What makes a computer ready, and what does not end.
LEFT_OUT = ("pip ", "createdb ", "python manage.py runserver")

pytest.importorskip("wordllama")


def test_whoever_follows_the_page_has_a_search(empty_url: URL, tmp_path: Path) -> None:
    site = Site(tmp_path, empty_url)
    printed = {line: site.run(line) if language == "sh" else put(tmp_path, line) for language, line in steps()}
    assert "Returns" in printed['python manage.py pgcorpus search "may I return an order?"']
    assert "articles.article: 1 objects; 0 passages added" in printed["python manage.py pgcorpus sync articles.Article"]
    with site.served() as visitor:
        (found,) = json.loads(visitor.get("/search/", q="may I return an order"))["found"]
    assert found["title"] == "Returns"
    assert found["passage"] == "Returns\n\nSend it back within 30 days."
    program = (
        "import json, articles.notes, articles.nightly; from django.core.management import call_command; "
        "articles.notes.publish(articles.models.Article(title='New', body='news'), 'a note'); "
        "print(articles.nightly.found('news')); call_command('pgcorpus', 'collections', '--json')"
    )
    answers = site.run(f'python manage.py shell -c "{program}"')
    assert '"source": "articles.article:2"' in answers
    counts = [json.loads(line) for line in answers.splitlines() if '"collections"' in line]
    assert {each["name"]: each["documents"] for each in counts[0]["collections"]} == {"articles": 2, "notes": 1}


def steps() -> list[tuple[str, str]]:
    """Return the lines of commands and the blocks of files, in their order."""
    lines = [(language, [block] if language == "python" else block.splitlines()) for language, block in BLOCKS]
    return [(language, step) for language, steps in lines for step in steps if step and not step.startswith(LEFT_OUT)]


def put(folder: Path, block: str) -> str:
    """Write a file, or append to it, as the block's first line says."""
    first, _, rest = block.partition("\n")
    append, name = re.fullmatch(r"# (append to )?(\S+\.py)", first).groups()  # type: ignore[union-attr]
    file = folder / name
    file.write_text((file.read_text() if append else "") + rest)
    return name
