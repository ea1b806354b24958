"""A small Flask app with documents, with Flask-SQLAlchemy beside them or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask, request, stream_with_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, select, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.models import Document
from pgcorpus.services.embedding import pad
from pgcorpus.testing import HashEmbedder

KINDS = ("own", "shared")


@dataclass(frozen=True, slots=True)
class Shop:
    """An app, and what its module would have at its top.

    Attributes:
        app: Its views write a note, and with Flask-SQLAlchemy a ticket in the same transaction.
        corpus: The extension.
        db: Flask-SQLAlchemy, or None.
        Ticket: The app's own model, where it has one.
    """

    app: Flask
    corpus: PgCorpus
    db: Any = None
    Ticket: Any = None

    def notes(self) -> list[str]:
        """Return the notes that were committed."""
        with self.app.app_context():
            return sorted(self.corpus.session.scalars(select(Document.content)))

    def tickets(self) -> list[str]:
        """Return the titles of the tickets that were committed."""
        with self.app.app_context():
            return sorted(self.db.session.scalars(select(self.Ticket.title)))

    @property
    def engine(self) -> Engine:
        """The engine that the extension uses."""
        with self.app.app_context():
            return self.corpus.engine

    def close(self) -> None:
        """Close the connections of every engine it has."""
        self.engine.dispose()
        if self.db:
            with self.app.app_context():
                self.db.engine.dispose()


def note(corpus: PgCorpus, words: str, **options: Any) -> None:
    """Add a document to the session; nothing is committed."""
    corpus.repository("notes", embedding_model=corpus.embedder.model, **options).add(
        {"content": words, "embedding": pad(corpus.embedder.embed([words])[0])}
    )


@contextmanager
def shop(kind: str, url: URL, **config: Any) -> Iterator[Shop]:
    """Yield an app on a database, and close its connections.

    Args:
        kind: ``own`` or ``shared``, with Flask-SQLAlchemy.
        url: The database.
        **config: More of the app's configuration.
    """
    made = own_shop(url, **config) if kind == "own" else shared_shop(url, **config)
    with made.app.app_context():
        if made.db:
            made.db.create_all()
    yield made
    made.close()


def own_shop(url: URL, **config: Any) -> Shop:
    """Return an app without Flask-SQLAlchemy."""
    app = Flask("own")
    app.config |= {"PGCORPUS_DATABASE_URL": url, "PGCORPUS_EMBEDDER": HashEmbedder()} | config
    made = Shop(app, PgCorpus(app))
    _add_views(made)
    return made


def shared_shop(url: URL, *, corpus_first: bool = False, **config: Any) -> Shop:
    """Return an app with Flask-SQLAlchemy and a model of its own."""
    db, ticket = models()
    app = Flask("shared")
    app.config |= {"SQLALCHEMY_DATABASE_URI": url, "PGCORPUS_EMBEDDER": HashEmbedder()} | config
    made = Shop(app, PgCorpus(), db, ticket)
    for extension in (made.corpus, db) if corpus_first else (db, made.corpus):
        extension.init_app(app)
    _add_views(made)
    return made


def models() -> tuple[Any, Any]:
    """Return a Flask-SQLAlchemy of its own with a model, as each app's module has one."""

    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    model: Any = db.Model

    class Ticket(model):  # type: ignore[misc]
        __tablename__ = "tickets"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]

    return db, Ticket


def _fail(session: Session) -> str:
    session.flush()
    raise LookupError


ENDS: dict[str, Callable[[Session], str]] = {
    "commit": lambda session: session.commit() or "added",
    "forget": lambda session: session.flush() or "added",
    "raise": _fail,
}


def _add_views(made: Shop) -> None:
    corpus = made.corpus

    @made.app.post("/notes/<words>")
    def add(words: str) -> str:
        """Add a note and a ticket; commit, forget it, or fail, as the query says."""
        note(corpus, words)
        if made.db:
            made.db.session.add(made.Ticket(title=words))
        return ENDS[request.args["then"]](corpus.session)

    @made.app.get("/search/<words>")
    def search(words: str) -> list[str]:
        hits = corpus.retriever("notes", hybrid="hybrid" in request.args).retrieve(
            words, 1, ef_search=request.args.get("ef", type=int)
        )
        return [hit.document.content for hit in hits]

    @made.app.get("/stream/<words>")
    def stream(words: str) -> Any:
        """Search for each line, by what was made before the first of them, and tell which transaction that was in."""
        retriever = corpus.retriever("notes")
        retriever.retrieve(words, 1)

        def lines() -> Iterator[str]:
            for _ in range(3):
                content = retriever.retrieve(words, 1)[0].document.content
                yield f"{content} {corpus.session.scalar(_WHO)}\n"

        return stream_with_context(lines())


_WHO = text("SELECT pg_backend_pid() || ' ' || txid_current()")
