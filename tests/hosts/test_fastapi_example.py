"""The help centre on FastAPI does what its README says, with two workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
from sqlalchemy import text
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from tests.support.following import Reader

EXAMPLE = Path(__file__).parents[2] / "examples/fastapi_app"
ANN, BOB = ({"Authorization": f"Bearer {name}-secret"} for name in ("ann", "bob"))


def test_it_has_fewer_than_150_lines() -> None:
    lines = "\n".join(path.read_text() for path in EXAMPLE.glob("*.py")).splitlines()
    assert len([line for line in lines if line.strip()]) < 150


def test_it_works_as_its_readme_says(empty_url: URL, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    readme = (folder / "README.md").read_text().replace("\ncurl", "\necho; echo ---\ncurl")
    database_url = empty_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with Reader(readme, folder, database_url) as reader:
        printed = [printed for _, printed, _ in reader.follow()][-1]
        found, filtered, answer = (part.strip() for part in printed.split("---")[3:])
        assert [hit["article"] for hit in json.loads(found)] == ["password", "invoices"]
        assert [hit["article"] for hit in json.loads(filtered)] == ["invoices"]
        assert "“To reset your password, follow the link on the login page.” [1]\n" in answer
        assert "\n[1] password" in answer
        with httpx.Client(base_url=f"http://127.0.0.1:{reader.port}", headers=ANN, timeout=30) as client:
            others_see_nothing(client)
            a_refused_article_leaves_nothing(client, empty_url)
            what_cannot_be_asked_is_told(client)
            a_deleted_article_is_not_found(client)


def others_see_nothing(client: httpx.Client) -> None:
    assert client.get("/search", params={"q": "password"}, headers=BOB).status_code == 404
    assert client.put("/articles/password", json={"title": "Ours", "text": "No."}, headers=BOB).status_code == 204
    hits = client.get("/search", params={"q": "password"}, headers=BOB).json()
    assert [(hit["title"], hit["passage"]) for hit in hits] == [("Ours", "No.")]
    assert client.get("/search", params={"q": "x"}, headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.delete("/articles/invoices", headers=BOB).status_code == 404


def a_refused_article_leaves_nothing(client: httpx.Client, url: URL) -> None:
    """A NUL cannot be stored: the passages fail after the article was written."""
    assert client.put("/articles/broken", json={"title": "Broken", "text": "a \0 text"}).status_code == 500
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM articles WHERE slug = 'broken'")) == 0
        assert connection.scalar(text("SELECT count(*) FROM articles WHERE slug = 'password'")) == 2
    engine.dispose()


def what_cannot_be_asked_is_told(client: httpx.Client) -> None:
    for parameters in ({}, {"q": " "}, {"q": "a \0 character"}, {"q": "x", "k": 99}):
        assert client.get("/search", params=parameters).status_code == 422
    assert client.put("/articles/../x", json={"title": "t", "text": "x"}).status_code in (404, 405)


def a_deleted_article_is_not_found(client: httpx.Client) -> None:
    assert client.delete("/articles/password").status_code == 204
    hits = client.get("/search", params={"q": "I forgot my password"}).json()
    assert [hit["article"] for hit in hits] == ["invoices"]
