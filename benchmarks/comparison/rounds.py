"""Interleaved rounds: every round visits all in a new order, so that the machine's noise hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Generic, NamedTuple, TypeVar

from benchmarks.comparison.client import Client, WorkerError
from benchmarks.noise import shuffled

_T = TypeVar("_T")


class Key(NamedTuple):
    """One way to do a job."""

    peer: str
    mode: str


@dataclass(frozen=True)
class Unit:
    """What is visited in a round.

    Attributes:
        client: The peer's worker.
        mode: One of its ways.
        target: Where it connects.
        label: What it is called in the results, if not by its mode.
    """

    client: Client
    mode: str
    target: dict[str, Any]
    label: str | None = None

    @property
    def key(self) -> Key:
        """Return its name in the results."""
        return Key(self.client.name, self.label or self.mode)


class Span(NamedTuple):
    """Some searches in a row: the seconds of each, and the process's CPU seconds for all."""

    seconds: list[float]
    cpu: float

    def median_ms(self) -> float:
        """Return the median of the searches."""
        return 1000 * median(self.seconds)

    def cpu_ms(self) -> float:
        """Return the CPU time of one search."""
        return 1000 * self.cpu / len(self.seconds)


@dataclass
class Rounds(Generic[_T]):
    """What was measured: of each way, one value a round, the same rounds for all."""

    values: dict[Key, list[_T]] = field(default_factory=dict)

    def median(self, key: Key, of: Callable[[_T], float]) -> float | None:
        """Return the median of the rounds; None where nothing was measured."""
        measured = self.values.get(key)
        return median(map(of, measured)) if measured else None

    def all_of(self, key: Key, of: Callable[[_T], float]) -> list[float]:
        """Return a value of each round."""
        return [of(value) for value in self.values.get(key, ())]

    def ratio(self, key: Key, base: Key, of: Callable[[_T], float]) -> float | None:
        """Return the median over the rounds of a value's ratio to the base's in the same round."""
        ratios = self.ratios(key, base, of)
        return median(ratios) if ratios else None

    def spread(self, key: Key, base: Key, of: Callable[[_T], float]) -> tuple[float, float] | None:
        """Return the first and the third quartile of :meth:`ratio`."""
        ratios = self.ratios(key, base, of)
        if len(ratios) < 2:
            return None
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        return low, high

    def ratios(self, key: Key, base: Key, of: Callable[[_T], float]) -> list[float]:
        """Return a value's ratio to the base's, of each round."""
        pairs = zip(self.values.get(key, ()), self.values.get(base, ()), strict=False)
        return [of(value) / of(other) for value, other in pairs]


def run_rounds(
    units: Sequence[Unit],
    rounds: Iterable[int],
    visit: Callable[[Unit, int], _T],
    failed: Callable[[Unit, WorkerError], None],
) -> Rounds[_T]:
    """Visit all units once a round.

    Args:
        units: What to visit; one that fails is left out from then on, and of the result.
        rounds: The rounds' numbers.
        visit: Measures one unit in one round.
        failed: Told of each failure.
    """
    found: Rounds[_T] = Rounds({unit.key: [] for unit in units})
    order = list(units)
    for number in rounds:
        for unit in shuffled(order, number):
            try:
                found.values[unit.key].append(visit(unit, number))
            except WorkerError as exc:
                failed(unit, exc)
                order.remove(unit)
                del found.values[unit.key]
    return found
