"""What is to be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgcorpus.indexing import IndexForm, parse_form
from pgcorpus.repositories.search.requests import LARGEST_ID, MAX_HITS, check_number, check_range
from pgcorpus.services.calibrating.ladder import DEFAULT_MODES, Mode

TARGET = 0.98
SAMPLE = 200
MAX_SAMPLE = 10_000
K = 10
RATE = 20.0
TIMEOUT = 60.0
# One search in a quarter of an hour: who asks for less has mistaken seconds for a rate.
_SLOWEST = 0.001


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured.

    Attributes:
        target: The recall wanted, 0 to 1.
        k: Hits wanted.
        sample: Queries made of documents, where there are no questions.
        seed: Of their choice.
        filters: Those to measure with; None for typical ones.
        modes: Ways of scanning; None for the one that searches have by default.
        form: Of the index; by default that of the one that searches go by.
        rate: Searches a second, 0.001 at least; 0 for as many as there are.
        timeout: Seconds after which a search is given up.
        refresh: Measure with the ``k``, filters, modes and form of the calibration that is stored.

    Raises:
        SearchError: A number is out of range.
        DefinitionError: There is no such form.
    """

    target: float = TARGET
    k: int = K
    sample: int = SAMPLE
    seed: int = 0
    filters: Sequence[Mapping[str, Any]] | None = None
    modes: Sequence[Mode] = DEFAULT_MODES
    form: IndexForm | str | None = None
    rate: float = RATE
    timeout: float = TIMEOUT
    refresh: bool = False

    def __post_init__(self) -> None:
        check_number("target", self.target, 0.0, 1.0)
        check_range("k", self.k, 1, MAX_HITS)
        check_range("sample", self.sample, 1, MAX_SAMPLE)
        check_range("seed", self.seed, 0, LARGEST_ID)
        check_number("rate", self.rate, _SLOWEST if self.rate else 0.0, 1e6)
        check_number("timeout", self.timeout, 0.001, 86_400.0)
        if self.form is not None:
            parse_form(self.form)
