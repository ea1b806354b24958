"""What a command says on the terminal while it runs, and how it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

_T = TypeVar("_T")


def console() -> Console:
    """Return the terminal; a file or a pipe has no width of its own, and gets one that the tables fit into."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def end_as_interrupted() -> None:
    """Let SIGTERM end this process as Ctrl-C does: servers stopped, processes ended, temporary files deleted."""
    signal.signal(signal.SIGTERM, _interrupt)


class Report:
    """Progress, on the terminal.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start = time.monotonic()
        self._warnings: list[str] = []

    def say(self, text: str) -> None:
        """Tell what begins."""
        self.console.print(f"{time.monotonic() - self._start:4.0f} s  {escape(text)}", highlight=False)

    def warn(self, text: str) -> None:
        """Tell what is missing, now and below the tables."""
        self.say(text)
        self._warnings.append(text)

    def track(self, items: Iterable[_T], text: str) -> Iterator[_T]:
        """Show how far a loop is."""
        self.say(text)
        chosen = list(items)
        yield from track(chosen, text, console=self.console, transient=True, disable=not self.console.is_terminal)

    def remind(self) -> None:
        """Tell once more what is missing, below the tables."""
        for warning in self._warnings:
            self.console.print(f"note: {escape(warning)}", highlight=False)

    def saved(self, path: Path) -> None:
        """Tell where the figures are."""
        self.say(f"saved {path}")


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's signature
    raise KeyboardInterrupt
