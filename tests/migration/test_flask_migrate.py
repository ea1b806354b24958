"""Flask-Migrate, with its own template and its own defaults (``render_as_batch``): the plugin is at home there."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgcorpus import schema
from pgcorpus.models import hnsw_index


class Project:
    """A Flask app whose model can change."""

    def __init__(self, path: Path, url: URL) -> None:
        self.path = path
        self.url = url

    @contextmanager
    def running(self, **parameters: Any) -> Iterator[None]:
        """Be inside the app, made anew with this index as a restarted process would."""

        class Base(DeclarativeBase):
            pass

        db = SQLAlchemy(model_class=Base)
        model: Any = db.Model

        class Item(model):  # type: ignore[misc]
            __tablename__ = "items"
            __table_args__ = (hnsw_index("embedding", name="ix_items_embedding", **parameters),)
            id: Mapped[int] = mapped_column(primary_key=True)
            embedding = mapped_column(VECTOR(3))

        app = Flask("project", root_path=str(self.path))
        app.config["SQLALCHEMY_DATABASE_URI"] = self.url
        db.init_app(app)
        flask_migrate.Migrate(app, db, directory=str(self.path / "migrations"))
        with app.app_context():
            yield
            db.engine.dispose()

    def newest(self) -> str:
        versions = self.path / "migrations" / "versions"
        return max(versions.glob("*.py"), key=lambda path: path.stat().st_mtime_ns).read_text()


SMALLER = {"m": 8, "ef_construction": 40}


@pytest.fixture
def project(tmp_path: Path, empty_url: URL, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(logging.config, "fileConfig", lambda *_, **__: None)  # it would silence this process
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return Project(tmp_path, empty_url)


@pytest.mark.filterwarnings("ignore:'get_engine' is deprecated")  # by Flask-Migrate's own template
def test_declared_changed_and_checked(project: Project, empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)  # ours beside the host's
    with project.running():
        flask_migrate.init()
        flask_migrate.migrate(message="first")
        assert "op.create_vector_index(" in project.newest()
        flask_migrate.upgrade()
    with project.running():
        flask_migrate.check()
    with project.running(**SMALLER):
        flask_migrate.migrate(message="smaller")
        assert "batch_op" not in project.newest()
        flask_migrate.upgrade()
    with project.running(**SMALLER):
        flask_migrate.check()
    with empty_engine.connect() as connection:
        index = text("SELECT pg_get_indexdef('ix_items_embedding'::regclass)")
        assert "m='8', ef_construction='40'" in str(connection.scalar(index))
    with project.running():
        flask_migrate.downgrade(revision="base")
    schema.check(empty_engine)
