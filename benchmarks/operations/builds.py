"""WAL and seconds of builds, and of rows with and without an index."""

from __future__ import annotations

from benchmarks.data import PASSAGES_PER_SOURCE, make_rows
from benchmarks.operations.site import (
    INDEX,
    ROWS,
    Site,
    ask,
    load,
    mb,
    measured,
    repository,
    say,
    size,
)
from pgcorpus.database import session_factory
from pgcorpus.indexing import IndexForm
from pgcorpus.services.indexes import BuildSettings, build_index, drop_index, estimate_index, wanted_index

MORE = 500  # rows


def builds(site: Site) -> None:
    """WAL and seconds of builds, of rows with and without an index, and what updates leave in one."""
    for form in (IndexForm.BINARY, IndexForm.HALFVEC, IndexForm.VECTOR):
        with measured(site, f"build {form} of {ROWS:,} rows", ROWS):
            kept = build_index(site.engine, wanted_index(form))
        say(f"  its size beside the estimate of {mb(estimate_index(form, 'hnsw', ROWS, 1536).bytes)}", mb(kept.bytes))
        if form is not IndexForm.VECTOR:
            drop_index(site.engine, kept.name, force=True)
    for memory in ("64MB", "8MB"):
        drop_index(site.engine, INDEX, force=True)
        with measured(site, f"build vector with {memory} and no workers"):
            build_index(site.engine, wanted_index(), settings=BuildSettings(memory, 0))
    before = size(site.engine, INDEX)
    with measured(site, f"load {MORE} more rows into the index", MORE):
        load(site.engine, make_rows(site.data.spare[:MORE], ROWS))
    grown = size(site.engine, INDEX)
    sources = {"source": {"$in": [f"source-{number}" for number in range(MORE // PASSAGES_PER_SOURCE)]}}
    for turn in (1, 2):
        what = f"update the metadata of {MORE} rows, turn {turn}"
        with measured(site, what, MORE), session_factory(site.engine).begin() as session:
            repository(session).update_meta(sources, {"turn": turn})
        say("  the index then and at first", mb(size(site.engine, INDEX)), mb(grown))
        with measured(site, "  VACUUM"):
            ask(site.engine, "VACUUM ANALYZE pgcorpus.documents")
    say(f"  a row's place in the index, from {mb(before)}", f"{(grown - before) / MORE / 1024:.1f} KB")
