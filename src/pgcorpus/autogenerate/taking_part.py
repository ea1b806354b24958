"""How the comparisons get among Alembic's own, in every version of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import ModifyTableOps, UpgradeOps
    from alembic.runtime.plugins import Plugin
    from sqlalchemy import Table

# Every function here imports on its first use what it needs: Alembic is half imported when it calls `register`.


def register(plugin: Plugin | None) -> None:
    """Have Alembic call us before it reads the schema, after it has compared a table, and in the end."""
    if plugin is not None:
        _register_plugin(plugin)
    elif not _has_plugins():
        _register_globally()


def _register_plugin(plugin: Plugin) -> None:
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(_begin, "schema", priority=DispatchPriority.FIRST)
    plugin.add_autogenerate_comparator(_compare_table, "table", priority=DispatchPriority.LAST)
    plugin.add_autogenerate_comparator(_end, "schema", priority=DispatchPriority.LAST)


def _register_globally() -> None:
    """Put ours before and after Alembic's own, which are lists before 1.18."""
    from alembic.autogenerate import comparators

    registry: dict[Any, list[Callable[..., Any]]] = comparators._registry
    if _begin not in registry["schema", "default"]:
        registry["schema", "default"].insert(0, _begin)
        registry["schema", "default"].append(_end)
        registry["table", "default"].append(_compare_table)


def _has_plugins() -> bool:
    try:
        from alembic.runtime import plugins  # noqa: F401
    except ImportError:
        return False
    return True


def _on_postgresql(context: AutogenContext) -> bool:
    return context.dialect.name == "postgresql"


def _begin(context: AutogenContext, _upgrade: UpgradeOps, schemas: set[str | None]) -> Any:
    from pgcorpus.autogenerate import reading, rendering

    context.opts = {**context.opts, "render_item": rendering.render_types(context.opts.get("render_item"))}
    if _on_postgresql(context):
        reading.know_types(context)
        reading.know_schemas(context, schemas)
    return _go_on()


def _compare_table(
    context: AutogenContext,
    modify: ModifyTableOps,
    schema: str | None,
    name: str,
    found: Table | None,
    model: Table | None,
) -> Any:
    from pgcorpus.autogenerate import comparing, tables

    if _on_postgresql(context):
        comparing.compare_table(tables.TableComparison(context, modify, schema, name, found, model))
    return _go_on()


def _end(context: AutogenContext, upgrade: UpgradeOps, _schemas: object) -> Any:
    from pgcorpus.autogenerate import ending

    if _on_postgresql(context):
        ending.finish(context, upgrade)
    return _go_on()


def _go_on() -> Any:
    """Return what a comparison returns to let others have their turn; nothing before Alembic 1.18."""
    try:
        from alembic.util import PriorityDispatchResult
    except ImportError:
        return None
    return PriorityDispatchResult.CONTINUE
