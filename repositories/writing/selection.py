"""What a delete or an update of metadata is limited to, and what it changes, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnClause, ColumnElement
from sqlalchemy.sql import visitors

from pgcorpus.errors import DocumentError, FilterError
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.values import json_problem, kind, text_problem


def limiting_condition(where: Where | None, model: type[Any], *, everything: bool) -> ColumnElement[bool] | None:
    """Return the condition of a delete; None only where everything is meant.

    Raises:
        FilterError: The filter cannot be understood, or holds for every document, or stands beside ``everything``.
    """
    if everything:
        if where is not None:
            raise FilterError("where: give a filter or everything=True, not both")
        return None
    condition = compile_filter(where, model)
    if condition is None or not _reads_a_column(condition):
        raise FilterError("where: it holds for every document; to delete them all, say delete(everything=True)")
    return condition


def _reads_a_column(condition: ColumnElement[bool]) -> bool:
    return any(isinstance(each, ColumnClause) for each in visitors.iterate(condition))


def checked_changes(changes: Any, remove: Any) -> tuple[dict[str, Any], list[str]]:
    """Return new values of metadata and the keys to drop.

    Raises:
        DocumentError: The changes are no object that JSONB can hold, or what is to be dropped is no list of keys.
    """
    if not isinstance(changes, Mapping):
        raise DocumentError(f"changes: expected an object, not {kind(changes)}")
    values = dict(changes)
    if problem := json_problem(values, "changes"):
        raise DocumentError(problem)
    if isinstance(remove, str) or not isinstance(remove, Iterable):
        raise DocumentError(f"remove: expected a list of keys, not {kind(remove)}")
    return values, [_checked_key(key, index) for index, key in enumerate(remove)]


def _checked_key(key: Any, index: int) -> str:
    if not isinstance(key, str):
        raise DocumentError(f"remove[{index}]: a key is text, not {kind(key)}")
    if problem := text_problem(key):
        raise DocumentError(f"remove[{index}]: the key {problem}")
    return key
