"""What ``postmaster.pid`` claims; nothing here believes it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pgcorpus.embedded.account import Account
from pgcorpus.embedded.place import Place

NAME = "postmaster.pid"


@dataclass(frozen=True)
class Entry:
    """A complete ``postmaster.pid``."""

    pid: int
    started: int
    port: int
    socket_dir: Path


def read(pgdata: Path) -> Entry | None:
    """Return what the file says, or nothing while there is none or it is not complete."""
    lines = _lines(pgdata)
    try:
        return Entry(int(lines[0]), int(lines[2]), int(lines[3]), Path(lines[4])) if _complete(lines) else None
    except ValueError:
        return None


def is_served(pgdata: Path) -> bool:
    """Say whether the process that the file names is, by its command line, a server of this cluster."""
    lines = _lines(pgdata)
    return bool(lines) and _serves(lines[0].strip(), pgdata)


def disown_stale(place: Place, account: Account) -> None:
    """Make sure that the id in a stale file does not stop the next start, nor harm its new bearer.

    PostgreSQL refuses to start while the id lives, whoever has it by now, but takes its own parent's for stale.
    The file is not deleted: its shared memory key protects the data from backends that a killed server left.

    Args:
        place: The data directory, whose server does not listen.
        account: The owner of its files.
    """
    lines = _lines(place.pgdata)
    # A server that lives without its socket is for PostgreSQL itself to judge.
    if lines and not _serves(lines[0].strip(), place.pgdata):
        text = "\n".join([str(os.getpid()), *lines[1:]]) + "\n"
        place.put(place.pgdata / NAME, text, account)


def _lines(pgdata: Path) -> list[str]:
    try:
        return (pgdata / NAME).read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _complete(lines: list[str]) -> bool:
    # pid, data directory, start time, port, socket directory, address, shared memory key, status
    return len(lines) >= 7 and bool(lines[6].strip())


def _serves(pid: str, pgdata: Path) -> bool:
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return words[0].endswith(b"postgres") and os.fsencode(pgdata) in words
        return False
    command = ["ps", "-o", "command=", "-p", pid]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    return "postgres" in listed and str(pgdata) in listed
