"""The vector indexes: there, valid, and of the metrics that the collections are searched with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count

from pgcorpus.indexing import OPCLASSES, metric_of, opclass_of
from pgcorpus.models import SCHEMA, Metric
from pgcorpus.names import qualified
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import Facts, IndexFacts
from pgcorpus.services.doctor.finding import Finding, Severity

# As the migrations build it: its name, metric and parameters.
_OWN = "ix_documents_embedding"
_OWN_METRIC = Metric.COSINE.value
_PARAMETERS = "m = 16, ef_construction = 64"

# What a REINDEX CONCURRENTLY that failed leaves beside the index (PostgreSQL documentation, REINDEX).
_LEFTOVERS = ("_ccnew", "_ccold")


def index_findings(facts: Facts) -> list[Finding]:
    """Return which indexes are missing or invalid; one that is being built is no sickness."""
    broken = [index for index in facts.indexes if not index.valid]
    building = [index for index in broken if index.building]
    invalid = [_invalid(index) for index in broken if not index.building]
    if building:
        return [_building(building), *invalid]
    return [*invalid, *_unserved(facts)]


def _metrics_of(indexes: Iterable[IndexFacts]) -> set[str]:
    """Return the metrics of those that have all documents."""
    known = [metric_of(index.opclass) for index in indexes if not index.partial and index.column == "embedding"]
    return {metric for type_, metric in filter(None, known) if type_ == "vector"}


def _metrics_served(facts: Facts) -> set[str]:
    return _metrics_of(index for index in facts.indexes if index.valid)


def _unserved(facts: Facts) -> list[Finding]:
    wanted, served = facts.metrics or {_OWN_METRIC}, _metrics_served(facts)
    # An invalid one is told of already, and serves again when that is mended.
    mended = _metrics_of(index for index in facts.indexes if not (index.valid or _is_leftover(index)))
    return [
        (_of_another_metric if served and metric != _OWN_METRIC else _missing)(facts, metric)
        for metric in sorted(wanted - served - mended)
    ]


def _missing(facts: Facts, metric: str) -> Finding:
    return Finding(
        "index-missing",
        Severity.WARNING,
        f"The vector index for {metric} is missing.",
        f"No index of {SCHEMA}.documents serves {opclass_of('vector', metric)}.",
        "Searches are exact and read every vector of the collection: slower with every document.",
        "Build it; readers and writers go on meanwhile.",
        # An index of that name, whatever it serves, is what an upgrade looks for.
        command="pgcorpus migrate upgrade" if metric == _OWN_METRIC and _OWN not in _names(facts) else None,
        sql=_create(facts, metric),
    )


def _of_another_metric(facts: Facts, metric: str) -> Finding:
    served = ", ".join(sorted(_metrics_served(facts)))
    return Finding(
        "index-metric",
        Severity.WARNING,
        f"Collections are searched by {metric}, and no index is for it.",
        f"{SCHEMA}.collections has the distance {metric}; the indexes of {SCHEMA}.documents are for {served}.",
        "Searches of these collections are exact and read every vector of theirs: slower with every document.",
        "Where these collections are large, build an index for them; readers and writers go on meanwhile.",
        sql=_create(facts, metric),
    )


def _invalid(index: IndexFacts) -> Finding:
    leftover = _is_leftover(index)
    name = qualified(SCHEMA, index.name)
    return Finding(
        "index-invalid",
        Severity.WARNING,
        f"The vector index {index.name} is invalid.",
        f"pg_index says so of {name}: a concurrent build failed or was cancelled.",
        "Searches do not use it, and every write still pays for it.",
        "Drop it." if leftover else "Build it again; readers and writers go on meanwhile.",
        command="pgcorpus migrate upgrade" if index.name == _OWN else None,
        sql=f"DROP INDEX CONCURRENTLY {name};" if leftover else f"REINDEX INDEX CONCURRENTLY {name};",
    )


def _is_leftover(index: IndexFacts) -> bool:
    return index.name.endswith(_LEFTOVERS)


def _building(indexes: list[IndexFacts]) -> Finding:
    names = ", ".join(index.name for index in indexes)
    return Finding(
        "index-building",
        Severity.NOTE,
        f"A vector index is being built: {names}.",
        f"pg_stat_progress_create_index has a build on {SCHEMA}.documents.",
        "Until it is done searches do without it.",
        "Wait for it; pg_stat_progress_create_index says how far it is.",
    )


def _create(facts: Facts, metric: str) -> str:
    """Return the statement that builds an index, whatever the search_path is."""
    name = _free(facts, _OWN if metric == _OWN_METRIC else f"{_OWN}_{OPCLASSES[metric]}")
    opclass = f"{schema_of_extension(facts)}.{opclass_of('vector', metric)}"
    return (
        f"CREATE INDEX CONCURRENTLY {name} ON {SCHEMA}.documents USING hnsw (embedding {opclass}) WITH ({_PARAMETERS});"
    )


def _names(facts: Facts) -> set[str]:
    return {index.name for index in facts.indexes}


def _free(facts: Facts, name: str) -> str:
    """Return a name that no vector index has: this one, or it with a number."""
    return next(each for each in chain([name], (f"{name}_{n}" for n in count(2))) if each not in _names(facts))
