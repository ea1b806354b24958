"""Writes told as events."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from pgcorpus.events import WriteEvent, told

F = TypeVar("F", bound=Callable[..., Any])


def tells(rows: Callable[[Any], int]) -> Callable[[F], F]:
    """Have a writer's method tell of itself, under its name.

    Args:
        rows: From what it returns to how many documents it wrote.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def telling(writer: Any, *args: Any, **options: Any) -> Any:
            scope = writer._scope
            with told(WriteEvent, operation=method.__name__, collection=scope.collection, tenant=scope.tenant) as known:
                result = method(writer, *args, **options)
                known["rows"] = rows(result)
            return result

        return cast(F, telling)

    return decorate
