"""Settings measured on groups of queries, each group with a filter, against exact answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from pgcorpus.errors import SearchTimeoutError
from pgcorpus.repositories.search.recall import EXACT, Setting
from pgcorpus.services.calibrating.asking import Answer, Asker
from pgcorpus.services.calibrating.estimating import half_and_most, lower_bound, recall_of
from pgcorpus.services.calibrating.keeping import Keeper
from pgcorpus.services.calibrating.questions import Query
from pgcorpus.services.calibrating.reports import Measured, Progress

# Searches whose plan is looked at: how many rows they look at differs little between queries.
EXPLAINED = 5
# Exact answers after which they are kept.
_KEPT_EVERY = 20
# Settings in a row that find all: what is above them on the ladder is only slower.
_PERFECT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Queries that are asked alike.

    Attributes:
        name: By which their measurements are kept.
        where: The filter that they stand for; None of none.
        queries: With the filters that they have.
    """

    name: str
    where: Mapping[str, Any] | None
    queries: Sequence[Query]

    @property
    def label(self) -> str:
        """For a reader."""
        return "no filter" if self.where is None else f"filter {self.name}"


class _Round(NamedTuple):
    """What is known of a group."""

    group: Group
    exact: Sequence[Answer]
    found: dict[Setting, Measured]


class Meter:
    """Measures settings, or takes what an earlier run measured.

    Args:
        asker: Of the collection.
        keeper: Of measurements.
        k: Hits wanted.
        notify: Told of every search.
    """

    def __init__(self, asker: Asker, keeper: Keeper, k: int, notify: Callable[[Progress], object]) -> None:
        self._asker = asker
        self._keeper = keeper
        self._k = k
        self._total = 0
        self._notify = notify
        self._done = 0
        self.resumed = 0

    def measure(
        self, groups: Sequence[Group], default: Setting, ladders: Sequence[Sequence[Setting]]
    ) -> list[Measured]:
        """Return what was measured of each group: exactly, at the default, and up the ladders.

        Args:
            groups: Queries; all are asked at the same settings, so that these can be compared.
            default: What a search does that asks for nothing.
            ladders: Settings, from the quickest up; without any, only exact searches are measured.
        """
        settings = {EXACT, default, *(setting for ladder in ladders for setting in ladder)} if ladders else {EXACT}
        self._total = len(settings) * sum(len(group.queries) for group in groups)
        rounds = [self._begun(group) for group in groups]
        for ladder in [[default], *ladders] if ladders else []:
            self._climb(ladder, rounds)
        self._total = self._done
        self._step("done", 0)
        return [measured for each in rounds for measured in each.found.values()]

    def _begun(self, group: Group) -> _Round:
        exact = self._exact(group)
        return _Round(group, exact, {EXACT: self._summed(group, EXACT, exact)})

    def _climb(self, ladder: Sequence[Setting], rounds: Sequence[_Round]) -> None:
        perfect = 0
        for number, setting in enumerate(ladder):
            for each in rounds:
                if setting not in each.found:
                    each.found[setting] = self._measured(each, setting)
            perfect = perfect + 1 if all(each.found[setting].recall == 1 for each in rounds) else 0
            if perfect == _PERFECT:
                left = [above for above in ladder[number + 1 :] if above not in rounds[0].found]
                self._total -= len(left) * sum(len(each.group.queries) for each in rounds)
                return

    def _exact(self, group: Group) -> list[Answer]:
        """Return the exact answers.

        Raises:
            SearchTimeoutError: One took too long: without it there is nothing to compare with.
        """
        answers = self._keeper.exact(group.name)
        stage = f"exact, {group.label}"
        self._step(stage, len(answers), resumed=len(answers))
        for query in group.queries[len(answers) :]:
            answers.append(self._exactly(query))
            self._step(stage)
            if len(answers) % _KEPT_EVERY == 0 or len(answers) == len(group.queries):
                self._keeper.keep_exact(group.name, answers)
        return answers

    def _exactly(self, query: Query) -> Answer:
        try:
            return self._asker.ask(query, self._k, EXACT)
        except SearchTimeoutError as exc:
            raise SearchTimeoutError(
                f"{exc}, and it was an exact one, which all others are compared with: give it more (--timeout)"
            ) from exc

    def _measured(self, of: _Round, setting: Setting) -> Measured:
        group = of.group
        stage = f"{described(setting)}, {group.label}"
        if (kept := self._keeper.measured(group.name, setting)) is not None:
            self._step(stage, kept.queries, resumed=kept.queries)
            return kept
        self._ask(group.queries[0], setting)  # who comes first would pay for planning
        answers = []
        for query in group.queries:
            answers.append(self._ask(query, setting))
            self._step(stage)
        measured = self._summed(group, setting, of.exact, answers)
        self._keeper.keep(group.name, measured)
        return measured

    def _ask(self, query: Query, setting: Setting) -> Answer | None:
        try:
            return self._asker.ask(query, self._k, setting)
        except SearchTimeoutError:
            return None

    def _summed(
        self, group: Group, setting: Setting, exact: Sequence[Answer], found: Sequence[Answer | None] | None = None
    ) -> Measured:
        """Return what answers say beside the exact ones; one that was given up found nothing."""
        given_up = Answer((), self._asker.timeout * 1000)
        answers = [answer or given_up for answer in (exact if found is None else found)]
        pairs = zip(answers, exact, strict=True)
        recalls = [recall_of(answer.distances, nearest.distances) for answer, nearest in pairs]
        p50, p95 = half_and_most([answer.milliseconds for answer in answers])
        hits = fmean(len(nearest.distances) for nearest in exact)
        scanned, indexed = self._explained(group, setting)
        recall = fmean(recalls)
        return Measured(
            setting=setting,
            where=group.where,
            recall=recall,
            at_least=1.0 if recall == 1 and not indexed else lower_bound(recalls, hits),
            p50_ms=p50,
            p95_ms=p95,
            scanned=scanned,
            indexed=indexed,
            queries=len(answers),
            timeouts=sum(1 for answer in answers if answer is given_up),
        )

    def _explained(self, group: Group, setting: Setting) -> tuple[float, bool]:
        """Return how many rows a search looks at, and whether the server goes by the vector index."""
        some = group.queries[: 1 if setting.exact else EXPLAINED]
        try:
            plans = [self._asker.explain(query, self._k, setting) for query in some]
        except SearchTimeoutError:
            return 0.0, not setting.exact
        return fmean(plan.scanned for plan in plans), any(plan.index for plan in plans)

    def _step(self, stage: str, searches: int = 1, *, resumed: int = 0) -> None:
        self._done += searches
        self.resumed += resumed
        self._notify(Progress(stage, self._done, max(self._total, self._done), self.resumed))


def described(setting: Setting) -> str:
    """Return a setting for a reader, such as ``ef_search 40, strict_order``."""
    if setting.exact:
        return "exact"
    first = f"ef_search {setting.ef_search}" if setting.probes is None else f"probes {setting.probes}"
    rerank = None if setting.rerank is None else f"rerank {setting.rerank}"
    return ", ".join(part for part in (first, rerank, setting.scan) if part)
