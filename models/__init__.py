"""What is stored: collections, documents, and the parts to declare document models of one's own."""

from pgcorpus.indexing import IndexForm
from pgcorpus.models.base import SCHEMA, Base
from pgcorpus.models.cached_embedding import CachedEmbedding
from pgcorpus.models.calibration import Calibration, CalibrationPoint
from pgcorpus.models.collection import Collection
from pgcorpus.models.document import (
    DIMENSIONS,
    Document,
    DocumentMixin,
    content_hash,
    document_table_args,
    vector_column,
)
from pgcorpus.models.index import hnsw_index, ivfflat_index
from pgcorpus.models.metric import Metric, parse_metric
from pgcorpus.models.vector import Vector, VectorMapped

__all__ = [
    "DIMENSIONS",
    "SCHEMA",
    "Base",
    "CachedEmbedding",
    "Calibration",
    "CalibrationPoint",
    "Collection",
    "Document",
    "DocumentMixin",
    "IndexForm",
    "Metric",
    "Vector",
    "VectorMapped",
    "content_hash",
    "document_table_args",
    "hnsw_index",
    "ivfflat_index",
    "parse_metric",
    "vector_column",
]
