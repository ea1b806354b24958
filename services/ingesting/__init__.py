"""Sources into a collection: read, split, embed what is new, write, and delete what vanished."""

from pgcorpus.services.ingesting.ingestor import AsyncIngestor, Ingestor
from pgcorpus.services.ingesting.report import IngestReport, Progress, Stage

__all__ = ["AsyncIngestor", "IngestReport", "Ingestor", "Progress", "Stage"]
