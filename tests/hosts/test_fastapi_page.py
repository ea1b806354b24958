"""The page on FastAPI is followed in an empty folder, as it is printed."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL

from tests.support.following import Reader

PAGE = Path(__file__).parents[2] / "docs/fastapi.md"


def test_following_the_page_gives_working_apps(empty_url: URL, tmp_path: Path) -> None:
    database_url = empty_url.set(drivername="postgresql").render_as_string(hide_password=False)
    shown = 0
    with Reader(PAGE.read_text(), tmp_path, database_url) as reader:
        written = reader.write_files()
        assert written == ["handbook.md", "app.py", "own_lifespan.py", "tenants.py", "plain.py", "test_app.py"]
        exec((tmp_path / "own_lifespan.py").read_text(), {})  # noqa: S102 -- our own text
        for typed, printed, expected in reader.follow():
            assert not expected or printed.strip() == expected.strip(), typed
            shown += bool(expected)
    assert shown == 4
