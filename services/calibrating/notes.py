"""What is to be known about a calibration, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from pgcorpus.repositories.search.recall import EXACT
from pgcorpus.services.calibrating.measuring import described
from pgcorpus.services.calibrating.reports import CalibrationReport

# With fewer queries the recall is known to no better than about .02.
_FEW = 50


def notes(report: CalibrationReport) -> Iterator[str]:
    """Yield what a reader of the figures should know."""
    yield from _about_queries(report)
    yield from _about_answers(report)
    yield from _about_plans(report)
    chosen = report.chosen()
    if report.default.form is None:
        yield "no vector index serves this collection: every search compares all its documents, and finds all"
    elif chosen is not None and chosen.setting == EXACT:
        yield from _about_exact(report)
    elif chosen is not None and chosen.at_least < report.target:
        yield (
            f"the chosen setting reached {chosen.recall:.3f} on these queries; of others expect at least "
            f"{chosen.at_least:.3f} (95 % confidence)"
        )


def _about_queries(report: CalibrationReport) -> Iterator[str]:
    if report.sampled:
        yield "the queries are made of documents; real questions (--queries FILE) tell more"
    if report.queries < _FEW:
        yield f"queries: {report.queries}, which are few: look at what the recall is at least"


def _about_answers(report: CalibrationReport) -> Iterator[str]:
    if report.documents <= report.k:
        yield f"documents: {report.documents:,}, no more than k: every search returns all of them"
    if late := sum(measured.timeouts for measured in report.measured):
        yield f"{late:,} searches were given up; they count as having found nothing"


def _about_plans(report: CalibrationReport) -> Iterator[str]:
    """A planner changes its mind with the statistics and the number of documents."""
    untaken = [each for each in report.measured if not (each.indexed or each.setting.exact or each.where)]
    if untaken:
        yield (
            f"at {'; '.join(described(each.setting) for each in untaken)} the server compared all documents rather "
            "than take the index; what the index finds there is not known, and not stored"
        )


def _about_exact(report: CalibrationReport) -> Iterator[str]:
    """Exact searches are chosen where they are quicker, and where nothing else is good enough."""
    reaching = [each for each in report.measured if each.indexed and not each.setting.exact and each.where is None]
    if any(each.recall >= report.target for each in reaching):
        yield f"comparing all {report.documents:,} documents is quicker than the index at this recall"
    elif reaching:
        best = max(each.recall for each in reaching)
        yield (
            f"no setting of the index reached {report.target:g} (the best found {best:.3f}): searches with this recall "
            "compare all documents; an index with a higher m or ef_construction may do better"
        )
