"""How the operations and pgvector's types look in a revision file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op, renderers

from pgcorpus.autogenerate.arranging import Note, OneWay
from pgcorpus.autogenerate.operations import AlterVectorDimensionsOp, PluginOperation
from pgcorpus.autogenerate.wanted import vector_type

_WIDTH = 100  # columns, indented by four in the file


@renderers.dispatch_for(PluginOperation)
def _render(context: AutogenContext, op: PluginOperation) -> list[str]:
    return [_call(context, *op.call())]


@renderers.dispatch_for(AlterVectorDimensionsOp)
def _render_dimensions(context: AutogenContext, op: AlterVectorDimensionsOp) -> list[str]:
    return [*_choices(op), _call(context, *op.call())]


@renderers.dispatch_for(OneWay)
def _render_one_way(context: AutogenContext, op: OneWay) -> list[str]:
    return [line for each in op.ops for line in render_op(context, each)]


@renderers.dispatch_for(Note)
def _render_note(_context: AutogenContext, op: Note) -> list[str]:
    return [f"# {line}" for line in op.lines]


def _call(context: AutogenContext, name: str, positional: list[Any], keywords: dict[str, Any]) -> str:
    arguments = [repr(each) for each in positional] + [f"{key}={value!r}" for key, value in keywords.items()]
    prefix = context.opts.get("alembic_module_prefix") or ""
    line = f"{prefix}{name}({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    return f"{prefix}{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _choices(op: AlterVectorDimensionsOp) -> list[str]:
    """Say what can become of vectors that are there: autogenerate cannot know."""
    if op.dimensions is None or op.existing_dimensions is None or op.how is not None:
        return []
    name = f"{op.table}.{op.column}"
    lines = [
        f"# {name}: {op.existing_dimensions} to {op.dimensions} dimensions. With vectors in it this stops; then choose:"
    ]
    if op.dimensions < op.existing_dimensions:
        lines.append(
            f"# - how='truncate' keeps the first {op.dimensions} and renormalises, for models trained so"
            " (Matryoshka; OpenAI text-embedding-3);"
        )
    else:
        lines.append("# - how='pad' appends zeros: cosine, L2 and inner product stay, the model stays;")
    return [
        *lines,
        "# - another model: add a new column instead, embed again into it, drop this one in a later revision;",
        f"# - nothing worth keeping: op.execute to set {op.column} to NULL first.",
    ]


def render_types(before: Callable[[str, Any, AutogenContext], Any] | None) -> Callable[[str, Any, AutogenContext], Any]:
    """Return a ``render_item`` for pgvector's types, after the host's own.

    Alembic's own prints ``pgvector.sqlalchemy.vector.VECTOR(dim=3)`` and imports nothing.
    """

    def render_item(kind: str, item: Any, context: AutogenContext) -> Any:
        rendered = before(kind, item, context) if before is not None else False
        if rendered is not False or kind != "type" or type(item).__module__.startswith("sqlalchemy."):
            return rendered
        return _type(item, context)

    return render_item


def _type(item: Any, context: AutogenContext) -> Any:
    found = vector_type(item)
    if found is None:
        return False
    name, dimensions = found
    context.imports.add(f"from pgvector.sqlalchemy import {name.upper()}")
    return f"{name.upper()}({'' if dimensions is None else dimensions})"
