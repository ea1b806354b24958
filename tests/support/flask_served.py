"""What gunicorn serves in the tests, copied to a folder of its own: two apps in one process, and a third.

At ``/shared`` one with Flask-SQLAlchemy, at ``/own`` one without, at ``/psycopg2`` one on that driver.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from pgcorpus.errors import PgCorpusError
from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.testing import HashEmbedder

URL = os.environ["SERVED_URL"]
LOCK = 4_711

corpus = PgCorpus()
db = SQLAlchemy()


def make(name: str, **config: Any) -> Flask:
    app = Flask(name)
    app.config |= {"PGCORPUS_EMBEDDER": HashEmbedder(), "PGCORPUS_COLLECTION": "notes"} | config
    if "SQLALCHEMY_DATABASE_URI" in config:
        db.init_app(app)
    corpus.init_app(app)

    @app.get("/who")
    def who() -> dict[str, object]:
        """Wait until nobody holds the lock, and tell which process and which connection this is."""
        waited = text("SELECT pg_backend_pid() FROM pg_advisory_xact_lock_shared(:key)")
        return {"worker": os.getpid(), "backend": corpus.session.scalar(waited, {"key": LOCK})}

    @app.get("/search/<words>")
    def search(words: str) -> list[str]:
        return [hit.document.content for hit in corpus.retriever().retrieve(words, 1, ef_search=50)]

    @app.errorhandler(PgCorpusError)
    def failed(error: PgCorpusError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 500

    return app


own = make("own", PGCORPUS_DATABASE_URL=URL)
shared = make("shared", SQLALCHEMY_DATABASE_URI=URL)
on_psycopg2 = make("psycopg2", PGCORPUS_DATABASE_URL=URL.replace("+psycopg:", "+psycopg2:"))

if "USED_BEFORE_THE_FORK" in os.environ:
    with own.app_context():
        corpus.session.execute(text("SELECT 1"))
    with shared.app_context():
        db.session.execute(text("SELECT 1"))

wsgi = DispatcherMiddleware(Flask("none"), {"/own": own, "/shared": shared, "/psycopg2": on_psycopg2})
