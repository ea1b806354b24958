"""The facts, read in two statements, and a search's plan where a collection is large enough to need an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.services.doctor import own_tables
from pgcorpus.services.doctor.aside import aside
from pgcorpus.services.doctor.catalog import CATALOG, NAMES, facts_of
from pgcorpus.services.doctor.extension import wants_an_update
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.planning import read_plan
from pgcorpus.services.doctor.refusals import is_lost, refusal

_AVAILABLE = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")


def read_facts(connection: Connection) -> Facts:
    """Read the facts, in savepoints where the caller has a transaction.

    Args:
        connection: On psycopg or psycopg2; nothing is written, and no setting changed.

    Raises:
        DBAPIError: The connection is lost, or the server does not even say what the catalog holds.
    """
    with aside(connection):
        facts = facts_of(json.loads(connection.scalar(CATALOG, NAMES)))
        if wants_an_update(facts):
            facts = replace(facts, available=connection.scalar(_AVAILABLE))
    asked = own_tables.questions(facts)
    if facts.locks or not asked:  # who waits behind a load helps nobody
        return facts
    try:
        facts = _with_answers(connection, facts, asked)
    except DBAPIError as exc:
        facts = _one_by_one(connection, facts, asked, exc)
    return _with_plan(connection, facts)


def _with_answers(connection: Connection, facts: Facts, asked: Mapping[str, str]) -> Facts:
    return own_tables.with_answers(facts, _ask(connection, facts, asked))


def _ask(connection: Connection, facts: Facts, asked: Mapping[str, str]) -> dict[str, Any]:
    with aside(connection):
        answers: dict[str, Any] = json.loads(connection.scalar(*own_tables.statement(asked, facts)))
    return answers


def _one_by_one(connection: Connection, facts: Facts, asked: Mapping[str, str], exc: DBAPIError) -> Facts:
    """A policy or a view of somebody's fails, say: what it does not concern is still told."""
    if is_lost(exc):
        raise exc
    answers: dict[str, Any] = {}
    refusals = []
    for name, question in asked.items():
        try:
            answers |= _ask(connection, facts, {name: question})
        except DBAPIError as refused:
            refusals.append(refusal(own_tables.WORDS[name], refused))
    return replace(own_tables.with_answers(facts, answers), refusals=tuple(refusals))


def _with_plan(connection: Connection, facts: Facts) -> Facts:
    try:
        with aside(connection):
            return replace(facts, planned=read_plan(connection, facts))
    except DBAPIError as exc:
        return replace(facts, refusals=(*facts.refusals, refusal("how a search is planned", exc)))
