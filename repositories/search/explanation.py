"""How the server answers a search: its own EXPLAIN, read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement, Executable

from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.repositories.search.planning import Plan


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a search was answered.

    Attributes:
        index: The vector index used; None where rows were compared one by one.
        other_indexes: Further indexes used, for the filter or the collection.
        scanned: Rows that came out of the scan before the filter: what the vector index delivered, or what was read.
        returned: Rows of the first statement, at most ``k``.
        exact: Whether every matching row was compared.
        complete: Whether there are no more matches than were returned, or as many as wanted. Where False the search
            goes on with an exact scan, and so returns ``min(k, matches)`` all the same.
        indexed: Whether there is an index for the metric.
        form: What the index used keeps of an embedding; None where none was used.
        metric: The metric.
        milliseconds: The server's time for the statement, planning included.
        settings: What the server was set to for it.
        plan: PostgreSQL's plan as it prints it in JSON.
    """

    index: str | None
    other_indexes: tuple[str, ...]
    scanned: int
    returned: int
    exact: bool
    complete: bool
    indexed: bool
    form: IndexForm | None
    metric: Metric
    milliseconds: float
    settings: Mapping[str, str]
    plan: Mapping[str, Any]

    def __str__(self) -> str:
        how = f"the index {self.index}" if self.index else "every matching row"
        short = "" if self.complete else ", too few: an exact scan completes the answer"
        return f"{how}: {self.scanned:,} rows scanned, {self.returned:,} returned in {self.milliseconds:.1f} ms{short}"


class Explain(Executable, ClauseElement):
    """A statement under EXPLAIN.

    Args:
        statement: To be explained.
        how: The options of EXPLAIN; constants of ours.
    """

    inherit_cache = False

    def __init__(self, statement: Any, how: str = "ANALYZE, BUFFERS, FORMAT JSON") -> None:
        self.statement = statement
        self.how = how


@compiles(Explain, "postgresql")
def _compile_explain(element: Explain, compiler: SQLCompiler, **kw: Any) -> str:
    return f"EXPLAIN ({element.how}) {compiler.process(element.statement, **kw)}"


def explain(
    connection: Connection,
    statement: Any,
    parameters: Mapping[str, Any],
    search: Plan,
    settings: Mapping[str, str],
) -> Explanation:
    """Run a search's statement under EXPLAIN ANALYZE and read the plan.

    Args:
        connection: With the search's settings.
        statement: The search.
        parameters: Of the statement.
        search: What was planned.
        settings: To be told.
    """
    answer: Any = connection.execute(Explain(statement), parameters).scalar_one()
    plan = answer[0]
    nodes = list(_nodes(plan["Plan"]))
    used = [(node, name) for node in nodes if (name := node.get("Index Name"))]
    index = _vector_index(nodes)
    returned = int(plan["Plan"]["Actual Rows"])
    return Explanation(
        index=index,
        other_indexes=tuple(dict.fromkeys(name for node, name in used if name != index)),
        scanned=_scanned(nodes, index),
        returned=returned,
        exact=index is None,
        complete=index is None or returned >= search.shape.limit,
        indexed=search.indexed,
        form=search.form if index else None,
        metric=search.shape.metric,
        milliseconds=plan["Planning Time"] + plan["Execution Time"],
        settings=settings,
        plan=plan["Plan"],
    )


def expected(connection: Connection, statement: Any, parameters: Mapping[str, Any]) -> tuple[str | None, float]:
    """Return which vector index a search's statement would go by, and what the server holds it to cost; it is not run.

    Args:
        connection: With the search's settings.
        statement: The search.
        parameters: Of the statement.
    """
    answer: Any = connection.execute(Explain(statement, "FORMAT JSON"), parameters).scalar_one()
    plan = answer[0]["Plan"]
    return _vector_index(_nodes(plan)), float(plan["Total Cost"])


def _vector_index(nodes: Iterable[Mapping[str, Any]]) -> str | None:
    """Only a vector index gives rows in an order."""
    return next((node["Index Name"] for node in nodes if "Index Name" in node and "Order By" in node), None)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _scanned(nodes: list[Mapping[str, Any]], index: str | None) -> int:
    """Rows that the scan of the searched table delivered and those its filter removed, over all its loops."""
    scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
    chosen = [node for node in scans if node.get("Index Name") == index] if index else scans
    return max((_rows(node) for node in chosen), default=0)


def _rows(node: Mapping[str, Any]) -> int:
    counts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return round(sum(float(node.get(name, 0)) for name in counts) * int(node["Actual Loops"]))
