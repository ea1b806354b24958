"""The life of vector indexes: foreseen, built, rebuilt, listed and dropped while an app serves."""

from pgcorpus.autogenerate.resources import BuildSettings
from pgcorpus.services.indexes.advising import MAX_ROWS, Advice, Choice, advice_for, advise
from pgcorpus.services.indexes.following import BuildProgress
from pgcorpus.services.indexes.keeping import Kept, Outcome, build_index, drop_index, plan_build, rebuild_index
from pgcorpus.services.indexes.listing import IndexUse, list_indexes
from pgcorpus.services.indexes.planning import BuildPlan
from pgcorpus.services.indexes.sizing import Estimate, crossover, estimate_index
from pgcorpus.services.indexes.wanted import WantedIndex, wanted_index

__all__ = [
    "MAX_ROWS",
    "Advice",
    "BuildPlan",
    "BuildProgress",
    "BuildSettings",
    "Choice",
    "Estimate",
    "IndexUse",
    "Kept",
    "Outcome",
    "WantedIndex",
    "advice_for",
    "advise",
    "build_index",
    "crossover",
    "drop_index",
    "estimate_index",
    "list_indexes",
    "plan_build",
    "rebuild_index",
    "wanted_index",
]
