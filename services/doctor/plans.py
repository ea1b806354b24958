"""The planner: whether it goes by the index, and what keeps it from that."""

from __future__ import annotations

from pgcorpus.models import SCHEMA
from pgcorpus.names import quote
from pgcorpus.services.doctor.facts import Facts, Planned
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.settings import told_of
from pgcorpus.services.doctor.storing import is_toasted


def plan_findings(facts: Facts) -> list[Finding]:
    """Return whether the largest collection is searched without its index, unless another finding explains it."""
    planned = facts.planned
    if planned is None or planned.index is not None or is_toasted(facts):
        return []
    if planned.cause and planned.cause[0] in told_of(facts):
        return []
    return [_unused(facts, planned)]


def _unused(facts: Facts, planned: Planned) -> Finding:
    where = planned.collection
    remedy, sql = _remedy(facts, planned)
    return Finding(
        "index-unused",
        Severity.WARNING,
        "The planner does not go by the vector index.",
        f"EXPLAIN of a search in {where.collection!r} (tenant {where.tenant!r}, about {where.documents:,} documents)"
        f" has no scan of the index, and a cost of {planned.cost:,.0f}; {_cause(planned)}.",
        "Each search compares the query with every vector of the collection: slower with every document.",
        remedy,
        sql=sql,
    )


def _cause(planned: Planned) -> str:
    if planned.cause is None:
        return "no single setting of the planner's explains it"
    name, current, value = planned.cause
    return f"{name} is {current}, and with {value} it has one"


def _remedy(facts: Facts, planned: Planned) -> tuple[str, str]:
    if planned.cause is None:
        remedy = "Analyse the table. If that does not help, look which of the planner's settings are not the defaults."
        return remedy, f"ANALYZE {SCHEMA}.documents;"
    name, _, value = planned.cause
    database = quote(facts.database)
    return (
        "Set it for this database; sessions that begin after that have it. Or in the server's configuration, for all.",
        f"ALTER DATABASE {database} SET {name} = {value};",
    )
