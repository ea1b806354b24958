"""The vector indexes: there, valid, and of the metrics that the collections are searched with."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count

from pgcorpus.indexing import OPCLASSES, opclass_of
from pgcorpus.models import SCHEMA, Metric
from pgcorpus.names import qualified
from pgcorpus.repositories.indexes import VectorIndex
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import Facts, IndexFacts, LargeCollection
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.own_tables import LARGE

# As the migrations build it: its name, metric and parameters.
OWN = "ix_documents_embedding"
_OWN_METRIC = Metric.COSINE
_PARAMETERS = "m = 16, ef_construction = 64"
_COLUMN = "embedding"

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


# Which metrics are served


def _unserved(facts: Facts) -> list[Finding]:
    wanted = {Metric(metric) for metric in facts.metrics} or {_OWN_METRIC}
    # An invalid one is told of already, and serves again when that is mended.
    mended = [replace(each, valid=True) for each in facts.vector_indexes if not _is_leftover(each.name)]
    findings: list[Finding] = []
    for metric in sorted(wanted):
        if any(index.serves(_COLUMN, metric, None) for index in mended):
            continue
        if facts.metrics and any(_serves_one(index, metric) for index in mended):
            findings += [_too_large(facts, each) for each in _large_without(facts, metric, mended)]
        else:
            findings.append(_lacking(facts, metric))
    return findings


def _serves_one(index: VectorIndex, metric: Metric) -> bool:
    """Where a collection has an index of its own, the others are searched exactly on purpose, if they are small."""
    return index.collection_id is not None and index.serves(_COLUMN, metric, index.collection_id)


def _large_without(facts: Facts, metric: Metric, indexes: list[VectorIndex]) -> list[LargeCollection]:
    large = [each for each in facts.large if each.metric == metric]
    return [each for each in large if not any(index.serves(_COLUMN, metric, each.collection_id) for index in indexes)]


def _metrics_served(facts: Facts) -> list[Metric]:
    return [metric for metric in Metric if any(each.serves(_COLUMN, metric, None) for each in facts.vector_indexes)]


def _lacking(facts: Facts, metric: Metric) -> Finding:
    is_another = metric is not _OWN_METRIC and _metrics_served(facts)
    return (_of_another_metric if is_another else _missing)(facts, metric)


def _missing(facts: Facts, metric: Metric) -> Finding:
    return Finding(
        "index-missing",
        Severity.WARNING,
        f"The vector index for {metric} is missing.",
        f"No index of {SCHEMA}.documents serves {opclass_of('vector', metric)}.",
        "Searches are exact and read every vector of the collection: slower with every document.",
        "Build it; readers and writers go on meanwhile. A first ingest that is running builds it at its end.",
        # An index of that name, whatever it serves, is what an upgrade looks for.
        command="pgcorpus migrate upgrade" if metric is _OWN_METRIC and OWN not in _names(facts) else None,
        sql=_create(facts, metric),
    )


def _too_large(facts: Facts, collection: LargeCollection) -> Finding:
    metric = Metric(collection.metric)
    return Finding(
        "index-missing",
        Severity.WARNING,
        f"The collection {collection.collection!r} is large, and has no vector index.",
        f"It has about {collection.documents:,} documents (tenant {collection.tenant!r}); the indexes of"
        f" {SCHEMA}.documents that serve {metric} are of other collections.",
        "Its searches are exact and read every vector of it: slower with every document.",
        "Build it one of its own; readers and writers go on meanwhile.",
        sql=_create(facts, metric, collection.collection_id),
    )


def _of_another_metric(facts: Facts, metric: Metric) -> Finding:
    served = ", ".join(sorted(_metrics_served(facts)))
    return Finding(
        "index-metric",
        # So few documents cannot have a collection that an exact search is slow in.
        Severity.NOTE if facts.rows < LARGE else Severity.WARNING,
        f"Collections are searched by {metric}, and no index is for it.",
        f"{SCHEMA}.collections has the distance {metric}; the indexes of {SCHEMA}.documents are for {served}.",
        "Searches of these collections are exact and read every vector of theirs: slower with every document.",
        "Where these collections are large, build an index for them; readers and writers go on meanwhile.",
        sql=_create(facts, metric),
    )


# Invalid, or being built


def _invalid(index: IndexFacts) -> Finding:
    leftover = _is_leftover(index.name)
    name = qualified(SCHEMA, index.name)
    return Finding(
        "index-invalid",
        Severity.WARNING,
        f"The vector index {index.name} is invalid.",
        f"pg_index says so of {name}: a concurrent build failed or was cancelled.",
        "Searches do not use it, and every write still pays for it.",
        "Drop it." if leftover else "Build it again; readers and writers go on meanwhile.",
        command="pgcorpus migrate upgrade" if index.name == OWN else None,
        sql=f"DROP INDEX CONCURRENTLY {name};" if leftover else f"REINDEX INDEX CONCURRENTLY {name};",
    )


def _is_leftover(name: str) -> bool:
    return name.endswith(_LEFTOVERS)


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


# The statement that builds one


def _create(facts: Facts, metric: Metric, collection_id: int | None = None) -> str:
    """Return the statement that builds an index, whatever the search_path is."""
    name = OWN if metric is _OWN_METRIC else f"{OWN}_{OPCLASSES[metric]}"
    free = _free(facts, name if collection_id is None else f"{name}_c{collection_id}")
    opclass = f"{schema_of_extension(facts)}.{opclass_of('vector', metric)}"
    some = "" if collection_id is None else f" WHERE collection_id = {collection_id}"
    return (
        f"CREATE INDEX CONCURRENTLY {free} ON {SCHEMA}.documents"
        f" USING hnsw ({_COLUMN} {opclass}) WITH ({_PARAMETERS}){some};"
    )


def _names(facts: Facts) -> set[str]:
    return {index.name for index in facts.indexes}


def _free(facts: Facts, name: str) -> str:
    """Return a name that no vector index has: this one, or it with a number."""
    return next(each for each in chain([name], (f"{name}_{n}" for n in count(2))) if each not in _names(facts))
