"""The command line: ``python -m benchmarks.operations``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data import draw
from benchmarks.operations.builds import builds
from benchmarks.operations.dumping import dump
from benchmarks.operations.pooling import pooler
from benchmarks.operations.site import ROWS, prepared
from benchmarks.operations.sizing import sizing
from benchmarks.operations.standby import standby
from benchmarks.operations.upgrading import upgrade
from benchmarks.server import private_folder
from pgcorpus.embedded import EmbeddedServer

PARTS = {"builds": builds, "dump": dump, "standby": standby, "pooler": pooler}


def main(arguments: Sequence[str]) -> None:
    """Run the parts that are named, or all."""
    if arguments[:1] == ["sizing"]:
        print(sizing())  # noqa: T201
    elif arguments[:1] == ["upgrade"]:
        upgrade(Path(arguments[1]).resolve())
    else:
        with private_folder() as folder, EmbeddedServer(folder / "server") as server:
            site = prepared(server, folder, draw("hard", ROWS))
            for name in arguments or PARTS:
                PARTS[name](site)
            site.engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1:])
