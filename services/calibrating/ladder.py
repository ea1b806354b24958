"""The settings that are tried, from the quickest up."""

from __future__ import annotations

from collections.abc import Sequence

from pgcorpus.indexing import IndexForm
from pgcorpus.repositories.indexes import Serving
from pgcorpus.repositories.search.recall import Setting
from pgcorpus.repositories.search.requests import MAX_EF_SEARCH, taken
from pgcorpus.tuning import DEFAULT_EF_SEARCH, SCANS

# Each about a third more than the one before, and the default among them.
EF_SEARCH = (20, 40, 60, 80, 120, DEFAULT_EF_SEARCH, 240, 320, 480, 640, MAX_EF_SEARCH)

# Rows compared exactly, for each hit wanted: what an index of signs finds depends on this more than on ef_search.
RERANKED = (10, 20, 40, 80)

# A way of scanning; None for the one that searches have by default.
Mode = str | None
DEFAULT_MODES: tuple[Mode, ...] = (None,)
ALL_MODES: tuple[Mode, ...] = (None, *SCANS[1:])


def default_setting(serving: Serving, k: int) -> Setting:
    """Return what a search does that asks for no setting.

    Args:
        serving: The index that is there.
        k: Hits wanted.
    """
    if serving.lists is not None:
        return Setting(probes=max(1, round(serving.lists**0.5)), form=serving.form)
    kept = max(DEFAULT_EF_SEARCH, taken(serving.form, 2 * k))
    return Setting(ef_search=min(kept, MAX_EF_SEARCH), form=serving.form)


def ladders(serving: Serving, k: int, modes: Sequence[Mode] = DEFAULT_MODES) -> list[list[Setting]]:
    """Return the settings of an index, in ladders: on each, one that finds all makes those above needless.

    Args:
        serving: The index that is there; without one there are none.
        k: Hits wanted.
        modes: Ways of scanning.
    """
    if serving.form is None:
        return []
    default = default_setting(serving, k)
    made: list[list[Setting]] = []
    for mode in modes:
        if serving.lists is not None:
            made.append(_probing(default, serving.lists, mode))
        elif serving.form is IndexForm.BINARY:
            made.extend(_comparing(default, k, mode))
        else:
            made.append([default._replace(ef_search=ef, scan=mode) for ef in _kept(default, k)])
    return [ladder for ladder in made if ladder]


def _kept(default: Setting, k: int) -> list[int]:
    """With fewer than k candidates there are too few hits."""
    return sorted({ef for ef in (*EF_SEARCH, default.ef_search or 0) if ef >= min(k, MAX_EF_SEARCH)})


def _probing(default: Setting, lists: int, mode: Mode) -> list[Setting]:
    if mode == "strict_order":
        return []  # IVFFlat has none (pgvector README, "Iterative Index Scans")
    doubled = {2**power for power in range(lists.bit_length()) if 2**power <= lists}
    return [default._replace(probes=probes, scan=mode) for probes in sorted({*doubled, default.probes or 1, lists})]


def _comparing(default: Setting, k: int, mode: Mode) -> list[list[Setting]]:
    """Of signs: rows compared, and as many or twice as many candidates."""
    made = [[default._replace(scan=mode)]]
    for times in RERANKED:
        kept = {min(MAX_EF_SEARCH, times * k), min(MAX_EF_SEARCH, 2 * times * k)}
        made.append([default._replace(ef_search=ef, rerank=times * k, scan=mode) for ef in sorted(kept)])
    return made
