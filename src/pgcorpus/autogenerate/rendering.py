"""How the operations and pgvector's types look in a revision file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _repr_type, render_op, renderers
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR

from pgcorpus.autogenerate.arranging import Note, OneWay
from pgcorpus.autogenerate.operations import PAD, TRUNCATE, AlterVectorDimensionsOp, PluginOperation

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
    return _comment(op.lines)


def _comment(lines: Iterable[str]) -> list[str]:
    """Return lines as comments; a name may hold a newline, and what follows it would be code."""
    return ["# " + "".join(each if each.isprintable() else repr(each)[1:-1] for each in line) for line in lines]


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
    ways = {
        TRUNCATE: f"- how='truncate' keeps the first {op.dimensions} and renormalises, for models trained so"
        " (Matryoshka; OpenAI text-embedding-3);",
        PAD: "- how='pad' appends zeros: cosine, L2 and inner product stay, the model stays;",
    }
    change = f"{op.existing_dimensions} to {op.dimensions} dimensions"
    lines = [
        f"{name}: {change}. With vectors in it this stops; then choose:",
        *([] if op.possible is None else [ways[op.possible]]),
        "- another model: add a new column instead, embed again into it, drop this one in a later revision;",
        f"- nothing worth keeping: op.execute to set {op.column} to NULL first.",
    ]
    return _comment(lines)


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
    name = next((each.__name__ for each in (VECTOR, HALFVEC, SPARSEVEC, BIT) if isinstance(item, each)), None)
    if name is None:
        return False
    context.imports.add(f"from pgvector.sqlalchemy import {name}")
    dimensions = getattr(item.impl, "length", None) if isinstance(item, BIT) else item.dim
    return f"{name}({'' if dimensions is None else dimensions})" + _variants(item, context)


def _variants(item: Any, context: AutogenContext) -> str:
    """Return what the type is on other databases, as Alembic would after its own rendering of the type."""
    return "".join(
        f".with_variant({_repr_type(variant, context)}, {dialect!r})"
        for dialect, variant in sorted(item._variant_mapping.items())
    )
