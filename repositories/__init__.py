"""How documents are read and written."""

from pgcorpus.repositories.aio import AsyncDocumentRepository
from pgcorpus.repositories.document import DocumentRepository
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.hits import DocumentView, Hit
from pgcorpus.repositories.sync import Draft, SyncReport

__all__ = [
    "AsyncDocumentRepository",
    "DocumentRepository",
    "DocumentView",
    "Draft",
    "Hit",
    "SyncReport",
    "Where",
    "compile_filter",
]
