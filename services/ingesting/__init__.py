"""Sources into a collection: read, split, embed what is new, write, and delete what vanished."""

from pgcorpus.services.ingesting.ingestor import ENGINE_APART, AsyncIngestor, Ingestor
from pgcorpus.services.ingesting.report import IngestReport, Progress, Stage

__all__ = ["ENGINE_APART", "AsyncIngestor", "IngestReport", "Ingestor", "Progress", "Stage"]
