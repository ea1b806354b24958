"""How documents, and rows of any class with a vector column, are read and written."""

from pgcorpus.repositories.aio import AsyncDocumentRepository, AsyncVectorRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.repositories.document import DocumentRepository
from pgcorpus.repositories.filters import Where, compile_field, compile_filter
from pgcorpus.repositories.hits import (
    DocumentView,
    Facet,
    Figures,
    Hit,
    Hits,
    HybridHit,
    Page,
    SampledKey,
    TextHit,
)
from pgcorpus.repositories.indexes import VectorIndex, read_indexes
from pgcorpus.repositories.search.explanation import Explanation
from pgcorpus.repositories.search.requests import SearchOptions
from pgcorpus.repositories.vector import VectorRepository
from pgcorpus.repositories.writing.drafts import DocumentLike, Draft
from pgcorpus.repositories.writing.index_policy import IndexPolicy
from pgcorpus.repositories.writing.sync import SyncReport
from pgcorpus.repositories.writing.syncing import SyncPlan
from pgcorpus.repositories.writing.upserting import UpsertReport

__all__ = [
    "AsyncDocumentRepository",
    "AsyncVectorRepository",
    "Calibrations",
    "DocumentLike",
    "DocumentRepository",
    "DocumentView",
    "Draft",
    "Explanation",
    "Facet",
    "Figures",
    "Hit",
    "Hits",
    "HybridHit",
    "IndexPolicy",
    "Page",
    "SampledKey",
    "SearchOptions",
    "SyncPlan",
    "SyncReport",
    "TextHit",
    "UpsertReport",
    "VectorIndex",
    "VectorRepository",
    "Where",
    "compile_field",
    "compile_filter",
    "read_indexes",
]
