"""What a server tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class ServerStatus:
    """What is known about an embedded server without starting it.

    Attributes:
        running: Whether it answers.
        data_dir: Where its data are.
        url: How to connect, while it runs.
        pid: Its process, while it runs.
        version: PostgreSQL's version: of the server while it runs, else the major version of the data, if any.
        started_at: Since when it runs.
        kept: Whether it outlives its holders.
        holders: The processes that hold it, where the system tells (Linux).
        size: Bytes on disk.
        log: Its log file.
    """

    running: bool
    data_dir: Path
    url: str | None
    pid: int | None
    version: str | None
    started_at: datetime | None
    kept: bool
    holders: tuple[int, ...]
    size: int
    log: Path
