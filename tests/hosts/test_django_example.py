"""The example of a help centre in Django is run as its README says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.support.django_sites import Site, User

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_app"
README = (EXAMPLE / "README.md").read_text()

pytest.importorskip("wordllama")


def test_it_is_short() -> None:
    files = [path for suffix in ("py", "html") for path in EXAMPLE.rglob(f"*.{suffix}")]
    lines = [line for path in files for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < 150


def test_a_user_finds_their_customers_articles_as_they_are(empty_url: URL, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "copy")
    site = Site(tmp_path / "copy", empty_url)
    for line in re.findall(r"^python manage\.py .*$", README, re.MULTILINE):
        if "runserver" not in line:
            site.run(line)
    with site.served() as ann:
        assert "Log in" in ann.get("/"), "nobody searches without a user"
        ann.fill("/admin/login/", username="ann", password="help", next="/")
        assert titles(ann, "send it back")[0] == "Returning an order"
        assert "Returning a rented machine" not in titles(ann, "send it back")
        assert "Next year" not in str(titles(ann, "which prices are there next year?")), "it is not published"
        bob = User(ann.address)
        bob.fill("/admin/login/", username="bob", password="help", next="/")
        assert titles(bob, "send it back")[0] == "Returning a rented machine"
        assert "<strong>Returning a rented machine</strong>" in bob.get("/", q="send it back")

        new = {"customer": "1", "title": "Gift <b>cards</b>", "body": "A voucher for a friend", "published": "on"}
        ann.fill("/admin/articles/article/add/", **new)
        assert titles(ann, "a voucher for a friend")[0] == new["title"]
        assert "Gift &lt;b&gt;cards" in ann.get("/", q="a voucher for a friend")
        ann.fill("/admin/articles/article/1/change/", **new | {"customer": "2", "title": "Moved"})
        assert "Moved" not in titles(ann, "a voucher for a friend")
        assert "Moved" in titles(bob, "a voucher for a friend")
        # An article has two forms: the delete button's asks for a confirmation.
        ann.fill("/admin/articles/article/2/delete/", post="yes")
        assert "Delivery" not in titles(ann, "when is a parcel delivered?")
    program = (
        "from django.core.management import call_command as call; call('pgcorpus', 'sync', '--all', '--quiet'); "
        "call('makemigrations', check_changes=True); call('check', databases=['default'], fail_level='WARNING')"
    )
    said = site.run(f'python manage.py shell -c "{program}"')
    assert "; 0 passages added, 0 updated, " in said
    assert "No changes detected" in said
    assert "no issues" in said


def titles(user: User, question: str) -> list[str]:
    return [each["title"] for each in json.loads(user.get("/", q=question, format="json"))["results"]]
