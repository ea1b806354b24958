"""What a calibration says: how far it is, what was measured, and which setting reaches the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgcorpus.models import CalibrationPoint
from pgcorpus.repositories.search.recall import EXACT, Setting, choose


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        stage: What is measured.
        done: Searches done with.
        total: Of how many; fewer are needed where the first settings find all.
        resumed: How many of them an earlier run did.
    """

    stage: str
    done: int = 0
    total: int = 0
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured at a setting.

    Attributes:
        setting: Of the searches.
        where: Their filter; None of none.
        recall: The mean share of the exact ``k`` nearest that were found, 0 to 1.
        at_least: What it is on other queries of the same kind, with 95 % confidence.
        p50_ms: Half of the searches took no longer, in milliseconds, as this client saw it.
        p95_ms: 95 of a hundred took no longer.
        scanned: Rows that the server looked at for a search; the mean of a few.
        queries: How many were asked.
        timeouts: How many of them were given up; they found nothing.
        indexed: Whether the server went by the vector index; else it compared all that the filter let pass.
    """

    setting: Setting
    where: Mapping[str, Any] | None
    recall: float
    at_least: float
    p50_ms: float
    p95_ms: float
    scanned: float
    queries: int
    timeouts: int = 0
    indexed: bool = True

    @property
    def point(self) -> CalibrationPoint:
        """As it is stored."""
        point: Any = {name: getattr(self, name) for name in ("recall", "p50_ms", "p95_ms", "scanned")}
        setting = self.setting._asdict()
        point["mode"] = setting.pop("scan")
        point |= setting | {
            "exact": self.setting.exact or None,
            "filter": None if self.where is None else {**self.where},
        }
        return {key: value for key, value in point.items() if value is not None}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where it was measured.

    Attributes:
        postgresql: The server's version.
        pgvector: The extension's version.
        shared_buffers: The server's memory for pages.
        standby: Whether the server is one.
        machine: Of the client that took the times.
    """

    postgresql: str = ""
    pgvector: str = ""
    shared_buffers: str = ""
    standby: bool = False
    machine: str = ""


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """A calibration of a collection.

    Attributes:
        collection: Its name.
        tenant: Whose it is.
        collection_id: Its id.
        documents: How many it has.
        index_name: The vector index; None where there is none.
        index_definition: As ``pg_get_indexdef`` tells it.
        k: Hits wanted.
        target: The recall wanted.
        default: What a search does that asks for nothing.
        measured: All settings, by filter.
        queries: How many there were.
        sampled: Whether they were made of documents.
        notes: What is to be known about it.
        surroundings: Where it was measured.
        measured_at: When.
        seconds: Time taken, that of earlier runs not counted.
        resumed: Searches that an earlier run had done.
        stored: The id of the stored calibration; None where it is not stored.
        not_stored: Why it could not be.
    """

    collection: str
    tenant: str
    collection_id: int
    documents: int
    index_name: str | None
    index_definition: str | None
    k: int
    target: float
    default: Setting
    measured: tuple[Measured, ...]
    queries: int = 0
    sampled: bool = False
    notes: tuple[str, ...] = ()
    surroundings: Surroundings = Surroundings()
    measured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    resumed: int = 0
    stored: int | None = None
    not_stored: str | None = None

    @property
    def points(self) -> list[CalibrationPoint]:
        """What is stored: exact searches, and the settings at which the server went by the index."""
        return [measured.point for measured in self._of_index]

    @property
    def _of_index(self) -> list[Measured]:
        """A setting that was measured without the index says nothing of what is found when it is taken."""
        untaken = {each.setting for each in self.measured if each.where is None and not each.indexed} - {EXACT}
        return [each for each in self.measured if each.setting not in untaken]

    @property
    def filters(self) -> list[Mapping[str, Any]]:
        """The filters that were measured."""
        found: list[Mapping[str, Any]] = []
        for measured in self.measured:
            if measured.where is not None and measured.where not in found:
                found.append(measured.where)
        return found

    def chosen(self, target: float | None = None, *, filtered: bool = False) -> Measured | None:
        """Return the setting that a search with ``recall=`` takes; None where nothing was measured without a filter.

        Args:
            target: The recall; this calibration's target by default.
            filtered: Whether the search has a filter.
        """
        points = self.points
        best = choose(points, self.target if target is None else target, filtered=filtered, form=self.default.form)
        return None if best is None else self._of_index[points.index(best)]

    def at(self, setting: Setting, where: Mapping[str, Any] | None = None) -> Measured | None:
        """Return what was measured at a setting."""
        same = (each for each in self.measured if each.setting == setting and each.where == where)
        return next(same, None)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        plain = ("collection", "tenant", "collection_id", "documents", "index_name", "index_definition", "k", "target")
        found = {name: getattr(self, name) for name in (*plain, "queries", "sampled", "notes", "seconds", "resumed")}
        return found | {
            "measured_at": self.measured_at.isoformat(),
            "surroundings": asdict(self.surroundings),
            "settings": [_as_json(measured) for measured in self.measured],
            "chosen": _as_json(self.chosen()),
            "chosen_filtered": _as_json(self.chosen(filtered=True)),
            "default": _as_json(self.at(self.default)),
            "stored": self.stored,
            "not_stored": self.not_stored,
        }


def _as_json(measured: Measured | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    beside = {name: getattr(measured, name) for name in ("at_least", "queries", "timeouts", "indexed")}
    return {**measured.point, **beside}
