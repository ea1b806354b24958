"""Text to vectors: OpenAI and compatible servers, a small model on this machine, or any function.

::

    base.py       what an embedder is; checks of texts and vectors
    openai.py     OpenAIEmbedder, AsyncOpenAIEmbedder: they send
    run.py        what they send next and what an outcome means, without I/O
    endpoint.py   what their calls share: the model's name, what its answers taught, what it cost
    limits.py     what fits into a request, and into a text
    batches.py    texts planned into requests, and cut
    wire.py       requests, answers and failures of POST /v1/embeddings
    local.py      LocalEmbedder
    function.py   FunctionEmbedder for any callable, and as_async
    models.py     well-known models
    cache.py      CachedEmbedder: what was answered is kept in the database
    call.py       its texts by hash and place; asking.py: the batches of any embedder; in_flight.py: what is on its way
    choose.py     which embedder a name or the environment asks for
"""

from pgcorpus.services.embedding.base import (
    AsyncBatchEmbedder,
    AsyncEmbedder,
    BatchEmbedder,
    EmbeddedBatch,
    Embedder,
    batch_size_of,
    check_embeddings,
    check_texts,
    pad,
)
from pgcorpus.services.embedding.cache import AsyncCachedEmbedder, CachedEmbedder, is_kept, prune_cache
from pgcorpus.services.embedding.choose import choose_embedder, embedder_of_model
from pgcorpus.services.embedding.function import AsyncFunctionEmbedder, FunctionEmbedder, as_async
from pgcorpus.services.embedding.local import LocalEmbedder
from pgcorpus.services.embedding.models import KNOWN_MODELS, KnownModel
from pgcorpus.services.embedding.openai import AsyncOpenAIEmbedder, OpenAIEmbedder, Usage

__all__ = [
    "KNOWN_MODELS",
    "AsyncBatchEmbedder",
    "AsyncCachedEmbedder",
    "AsyncEmbedder",
    "AsyncFunctionEmbedder",
    "AsyncOpenAIEmbedder",
    "BatchEmbedder",
    "CachedEmbedder",
    "EmbeddedBatch",
    "Embedder",
    "FunctionEmbedder",
    "KnownModel",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "Usage",
    "as_async",
    "batch_size_of",
    "check_embeddings",
    "check_texts",
    "choose_embedder",
    "embedder_of_model",
    "is_kept",
    "pad",
    "prune_cache",
]
