"""A help centre: a user searches the articles of their company, and writes a ticket where none helps."""

from __future__ import annotations

import os
from typing import Any

import click
from flask import Flask, abort, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from tables import Ticket, User, db
from werkzeug.security import check_password_hash, generate_password_hash

from pgcorpus.config import database_url
from pgcorpus.errors import CollectionNotFoundError, SearchError
from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.services.sources import documents

corpus = PgCorpus()


def create_app(**config: Any) -> Flask:
    """Make the app; the database is PGCORPUS_DATABASE_URL, for both the app's tables and the documents."""
    app = Flask(__name__)
    app.config |= {
        "SECRET_KEY": os.environ.get("SECRET_KEY"),
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SQLALCHEMY_DATABASE_URI": database_url(),
        "PGCORPUS_COLLECTION": "articles",
        "PGCORPUS_EMBEDDER": "local",
    } | config
    db.init_app(app)
    corpus.init_app(app)
    app.add_url_rule("/", view_func=page)
    app.add_url_rule("/search", view_func=search)
    app.add_url_rule("/login", view_func=login, methods=["GET", "POST"])
    app.add_url_rule("/tickets", view_func=write_ticket, methods=["POST"])
    app.register_error_handler(SearchError, lambda error: ({"error": str(error)}, 400))
    app.cli.command("create-tables")(db.create_all)
    app.cli.command("add-user")(add_user)
    return app


def current_user() -> User:
    """Return who is logged in, or answer 401."""
    return db.session.get(User, session.get("user", 0)) or abort(401)


def found(collection: str, words: str) -> list[dict[str, Any]]:
    """Search what the user's company has, by meaning and by words."""
    try:
        hits = corpus.retriever(collection, current_user().tenant, hybrid=True).retrieve(words, 3)
    except CollectionNotFoundError:  # nothing was stored for this company yet
        return []
    return [{"source": hit.document.source, "text": hit.document.content} for hit in hits]


def page() -> ResponseReturnValue:
    """Show the search as HTML."""
    if "user" not in session:
        return redirect(url_for("login"))
    words = request.args.get("q", "")
    return render_template("search.html", user=current_user(), q=words, hits=found("articles", words) if words else [])


def search() -> list[dict[str, Any]]:
    """Answer with JSON: with articles, or with tickets that are alike."""
    return found("tickets" if "tickets" in request.args else "articles", request.args.get("q", ""))


def login() -> ResponseReturnValue:
    """Log a user in by email and password."""
    if request.method == "GET":
        return render_template("login.html")
    user = db.session.scalar(db.select(User).filter_by(email=request.form["email"]))
    if user is None or not check_password_hash(user.password, request.form["password"]):
        return render_template("login.html", failed=True), 401
    session["user"] = user.id
    return redirect(url_for("page"))


def write_ticket() -> ResponseReturnValue:
    """Store a ticket, and the document it is found by, in one transaction."""
    user = current_user()
    ticket = Ticket(user=user, text=request.form["text"])
    db.session.add(ticket)
    db.session.flush()  # it needs its number
    document = {"source": f"ticket:{ticket.id}", "content": ticket.text}
    corpus.ingestor("tickets", user.tenant).ingest(documents([document]))
    db.session.commit()
    return {"id": ticket.id}, 201


@click.argument("email")
@click.argument("tenant")
@click.password_option(envvar="NEW_PASSWORD")
def add_user(email: str, tenant: str, password: str) -> None:
    """Add a user of a company."""
    db.session.add(User(email=email, tenant=tenant, password=generate_password_hash(password)))
    db.session.commit()
