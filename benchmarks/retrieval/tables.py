"""From what was measured to tables and to ``retrieval.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval.fusion import Setting
from benchmarks.retrieval.metrics import Quality, difference, mean
from benchmarks.retrieval.parsing import Query
from benchmarks.retrieval.run import Answers, Results
from benchmarks.retrieval.systems import ANY_WORD, DEFAULT, HYBRID, VECTOR, WORDS

Figures = dict[str, Any]

COLUMNS = {
    "ndcg10": "nDCG@10",
    "recall10": "recall@10",
    "mrr": "MRR",
    "one_word_ndcg10": "one word: nDCG@10",
    "several_words_ndcg10": "several: nDCG@10",
    "p50_ms": "p50 ms",
}


def figures_of(results: Results) -> dict[str, Figures]:
    """Return what is saved."""
    manual = results.manual
    figures: dict[str, Figures] = {
        "set": {
            "manual": manual.title,
            "server": results.server,
            "model": results.model,
            "sections": len(manual.sections),
            "documents": results.documents,
            "entries": len(manual.queries),
            "pairs": manual.pairs,
            "entries_left_out": manual.left_out,
            "asked": len(results.queries),
            "asked_of_several_words": sum(map(_has_several, results.queries)),
        },
        "ways": {name: _way(results.queries, answers) for name, answers in results.answers.items()},
        "hybrid_gain_ndcg10": {name: _gain(results, name) for name in (WORDS, ANY_WORD, VECTOR)},
    }
    if results.grid:
        figures["grid"] = _grid(results)
    return figures


def show(figures: Mapping[str, Figures], console: Console) -> None:
    """Print the tables."""
    about = figures["set"]
    console.print(
        f"\n{about['manual']}: {about['sections']:,} sections in {about['documents']:,} documents; asked "
        f"{about['asked']:,} of {about['entries']:,} index entries, {about['asked_of_several_words']:,} of several "
        f"words; {about['model']}; {about['server']}",
        highlight=False,
    )
    console.print(_table("way", COLUMNS, figures["ways"]))
    for name, gain in figures["hybrid_gain_ndcg10"].items():
        console.print(f"default hybrid against {name}: nDCG@10 {_signed(gain)}", highlight=False)
    if "grid" in figures:
        _show_grid(figures["grid"], console)


def _show_grid(grid: Figures, console: Console) -> None:
    columns = {
        "chosen_ndcg10": "half to choose: nDCG@10",
        "held_ndcg10": "other half: nDCG@10",
        "one_word_ndcg10": "of it one word",
        "several_words_ndcg10": "several",
    }
    console.print(_table("vector:words", columns, grid["settings"]))
    for kind, best in grid["best"].items():
        console.print(
            f"{kind}: best of the first half is {best['setting']}; on the other half its nDCG@10 differs from the "
            f"default's by {_signed(best['gain_ndcg10'])}",
            highlight=False,
        )


def _table(first: str, columns: Mapping[str, str], rows: Mapping[str, Figures]) -> Table:
    table = Table(first)
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, values in rows.items():
        table.add_row(name, *(_cell(column, values[column]) for column in columns))
    return table


def _way(queries: Sequence[Query], answers: Answers) -> Figures:
    measured = mean(answers.qualities)
    return {
        "ndcg10": _rounded(measured.ndcg),
        "recall10": _rounded(measured.recall),
        "mrr": _rounded(measured.mrr),
        **_by_length(queries, answers.qualities),
        "p50_ms": _rounded(1000 * median(answers.seconds)),
    }


def _by_length(queries: Sequence[Query], qualities: Sequence[Quality]) -> Figures:
    return {
        "one_word_ndcg10": _ndcg(_chosen(queries, qualities, several=False)),
        "several_words_ndcg10": _ndcg(_chosen(queries, qualities, several=True)),
    }


def _gain(results: Results, name: str) -> list[float]:
    return _difference(results.answers[HYBRID].qualities, results.answers[name].qualities)


# --- The grid


def _grid(results: Results) -> Figures:
    """Choose on the first half, judge on the other."""
    half = len(results.queries) // 2
    first, other = results.queries[:half], results.queries[half:]
    settings = {
        str(setting): {
            "chosen_ndcg10": _ndcg(qualities[:half]),
            "held_ndcg10": _ndcg(qualities[half:]),
            **_by_length(other, qualities[half:]),
        }
        for setting, qualities in results.grid.items()
    }
    best = {
        "all queries": _best(results.grid, first, other, None),
        "one word": _best(results.grid, first, other, False),
        "several words": _best(results.grid, first, other, True),
    }
    return {"settings": settings, "best": best}


def _best(
    grid: Mapping[Setting, list[Quality]], first: Sequence[Query], other: Sequence[Query], several: bool | None
) -> Figures:
    half = len(first)
    chosen = max(grid, key=lambda setting: _ndcg(_chosen(first, grid[setting][:half], several)) or 0.0)
    ours, base = (_chosen(other, grid[setting][half:], several) for setting in (chosen, DEFAULT))
    return {"setting": str(chosen), "gain_ndcg10": _difference(ours, base)}


def _chosen(queries: Sequence[Query], qualities: Sequence[Quality], several: bool | None) -> list[Quality]:
    """Return the measures of all queries, or of those of one word, or of several."""
    pairs = zip(queries, qualities, strict=True)
    return [quality for query, quality in pairs if several is None or _has_several(query) == several]


def _has_several(query: Query) -> bool:
    return " " in query.text


def _ndcg(qualities: Sequence[Quality]) -> float | None:
    return _rounded(mean(qualities).ndcg) if qualities else None


def _difference(ours: Sequence[Quality], base: Sequence[Quality]) -> list[float]:
    """Return the mean difference and its standard error, or nothing of too few queries."""
    if len(ours) < 2:
        return []
    gain = difference([each.ndcg for each in ours], [each.ndcg for each in base])
    return [_rounded(gain.mean), _rounded(gain.error)]


def _rounded(value: float) -> float:
    return round(value, 4)


def _signed(gain: Sequence[float]) -> str:
    return f"{gain[0]:+.3f} (standard error {gain[1]:.3f})" if gain else "unknown"


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if column.endswith("_ms") else f"{value:.3f}"
