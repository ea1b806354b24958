"""What the tests' shop answers requests with."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from pgcorpus.integrations.django import repository, session
from tests.hosts.django_project.shop.models import Article


def remember(request: HttpRequest, name: str) -> HttpResponse:
    """Store an article and a document of a name, search for it, and fail where the request says so."""
    Article.objects.create(title=name, body="b")
    vector = np.random.default_rng(len(name)).normal(size=1536)
    with session():
        repository().upsert([{"key": name, "content": name, "embedding": vector}])
        hits = repository().search(vector, k=1, ef_search=400)
    if "fail" in request.GET:
        raise ZeroDivisionError
    return JsonResponse({"found": len(hits)})


def settings(_request: HttpRequest) -> HttpResponse:
    """Say what a request finds its connection set to."""
    names = ("hnsw.ef_search", "hnsw.iterative_scan", "plan_cache_mode", "statement_timeout", "role")
    with connection.cursor() as cursor:
        cursor.execute("SELECT '[1]'::vector")
        cursor.execute("SELECT name, current_setting(name, true) FROM unnest(%s::text[]) AS name", [list(names)])
        found: list[Any] = cursor.fetchall()
    return JsonResponse(dict(found))
