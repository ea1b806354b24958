"""A worker process as the run sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 5


class WorkerError(Exception):
    """A peer could not do a job."""


class Client:
    """One worker.

    Args:
        name: The peer's name.
        python: The interpreter of its virtual environment.
        folder: Where the sets are saved.
        log: A file for what it prints.
    """

    def __init__(self, name: str, python: Path, folder: Path, log: Path) -> None:
        self.name = name
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.comparison.worker", name, str(folder)],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is for the run, which then stops its workers.
                start_new_session=True,
            )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for the answer.

        Raises:
            WorkerError: The peer raised, or its process ended.
        """
        assert self._process.stdin is not None  # noqa: S101 -- asked for above
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why it ended may still be read
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)


@contextmanager
def started(name: str, python: Path | None, folder: Path, log: Path) -> Iterator[Client]:
    """Start a worker for a while.

    Args:
        name: The peer's name.
        python: The interpreter of its virtual environment; this process's own by default.
        folder: Where the sets are saved.
        log: A file for what it prints.
    """
    client = Client(name, python or Path(sys.executable), folder, log)
    try:
        yield client
    finally:
        client.stop()


def _environment() -> dict[str, str]:
    """Leave out what would point a peer at another database, and threads that would disturb the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON", "DATABASE_"))}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
