"""What there is in a database, how large it is, and how it is used."""

from pgcorpus.services.statistics.figures import (
    CacheFigures,
    CalibrationFigures,
    CollectionFigures,
    IndexFigures,
    ServerFigures,
    StatementFigures,
    Statistics,
    TableFigures,
)
from pgcorpus.services.statistics.read import read_statistics, read_statistics_async

__all__ = [
    "CacheFigures",
    "CalibrationFigures",
    "CollectionFigures",
    "IndexFigures",
    "ServerFigures",
    "StatementFigures",
    "Statistics",
    "TableFigures",
    "read_statistics",
    "read_statistics_async",
]
