"""Another version of pgvector on the same files."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.data import draw
from benchmarks.operations.site import (
    ASKED,
    HASTY,
    ROWS,
    answers,
    ask,
    codes,
    prepared,
    require_index,
    same,
    say,
)
from benchmarks.server import private_folder
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer, binaries
from pgcorpus.embedded.binaries import Install


def upgrade(folder: Path) -> None:
    """Load and index with an older pgvector, and go on with the installed one on the same files."""
    present, data = binaries.find, draw("hard", ROWS)
    with private_folder() as home, ExitStack() as patched:
        patched.callback(setattr, binaries, "find", present)
        older = next(folder.glob("*/pginstall")).parent
        binaries.find = lambda: Install(older, "older")
        with EmbeddedServer(home / "server") as server:
            site = prepared(server, home, data)
            require_index(site)
            exact = answers(site.engine, data.queries[:ASKED], exact=True)
            say("recall", same(answers(site.engine, data.queries[:ASKED], **HASTY), exact))
            say("before", ask(site.engine, VERSIONS), codes(site.engine))
            site.engine.dispose()
        binaries.find = present
        with EmbeddedServer(home / "server") as server:
            engine = create_engine(server.url)
            found = answers(engine, data.queries[:ASKED], **HASTY)
            say("newer files, not yet updated", ask(engine, VERSIONS), codes(engine), same(found, exact))
            start = time.perf_counter()
            ask(engine, "ALTER EXTENSION vector UPDATE")
            say(
                "ALTER EXTENSION vector UPDATE", f"{1000 * (time.perf_counter() - start):.0f} ms", ask(engine, VERSIONS)
            )
            say("after", codes(engine), same(answers(engine, data.queries[:ASKED], **HASTY), exact))
            engine.dispose()


VERSIONS = "SELECT extversion || ' on ' || split_part(version(), ' ', 2) FROM pg_extension WHERE extname = 'vector'"
