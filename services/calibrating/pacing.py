"""So many searches a second and no more: what is measured is a server that others use."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Lets one search after another begin.

    Who falls behind does not catch up: a slow server would get all its load at once.

    Args:
        rate: Searches a second; 0 for as many as there are.
        clock: Returns seconds.
        sleep: Waits so many of them.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def wait(self) -> None:
        """Return when the next search may begin."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._interval

    def rest(self, seconds: float) -> None:
        """Wait for longer, before something is tried again."""
        self._sleep(seconds)
