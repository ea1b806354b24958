"""What the tests do and look at in the shop of tests/hosts/django_project."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from pgcorpus.repositories import DocumentRepository
from pgcorpus.vectors import Array

SETTINGS = ("hnsw.ef_search", "hnsw.iterative_scan", "plan_cache_mode", "statement_timeout", "search_path")


def add(session: Session, vectors: Array, name: str = "c", number: int = 3) -> DocumentRepository:
    repository = DocumentRepository(session, name)
    repository.add_many({"key": f"k{i}", "content": f"c{i}", "embedding": vectors[i]} for i in range(number))
    return repository


def documents(using: str = "default") -> int:
    """What is there, as Django's own cursor sees it."""
    from django.db import connections

    with connections[using].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pgcorpus.documents")
        return int(cursor.fetchone()[0])


def settings() -> list[str | None]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(name, true) FROM unnest(%s::text[]) AS name", [list(SETTINGS)])
        return [row[0] for row in cursor.fetchall()]


def article(title: str = "a") -> Any:
    from tests.hosts.django_project.shop.models import Article

    return Article.objects.create(title=title, body="b", extra={"a": [1]})
