"""Texts that are being embedded at this moment: who wants one too waits for its answer instead of paying as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple


class Flight(NamedTuple):
    """What one call asks for, and what others ask for already.

    Attributes:
        own: The hashes this call asks for.
        others: Those that other calls ask for.
        landings: Done when those calls have their answers, or have failed.
        is_late: Whether another call came to its end since the cache was asked: it may have our answers.
    """

    own: list[bytes]
    others: list[bytes]
    landings: list[Future[None]]
    is_late: bool


class Flights:
    """The flights of all threads and event loops that share an embedder.

    Attributes:
        landed: How many came to their end.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.landed = 0
        self._airborne: dict[bytes, Future[None]] = {}

    @contextmanager
    def board(self, hashes: Sequence[bytes], landed: int) -> Iterator[Flight]:
        """Ask for texts that nobody else asks for, as long as the context lasts.

        Wait for the landings after it: whoever waits has then answered all that others wait for, so that no two calls
        can wait for each other.

        Args:
            hashes: Of what the cache did not have.
            landed: The number of landings before it was asked.
        """
        landing: Future[None] = Future()
        landing.set_running_or_notify_cancel()  # a task that waits for it and is cancelled does not cancel it
        with self._lock:
            own = [key for key in hashes if key not in self._airborne]
            others = [key for key in hashes if key in self._airborne]
            landings = {self._airborne[key] for key in others}
            self._airborne.update(dict.fromkeys(own, landing))
            flight = Flight(own, others, list(landings), self.landed != landed)
        try:
            yield flight
        finally:
            with self._lock:
                for key in own:
                    del self._airborne[key]
                self.landed += 1
            landing.set_result(None)
