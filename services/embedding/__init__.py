"""Text to vectors: OpenAI and compatible servers, or a small model on this machine."""

from pgcorpus.services.embedding.base import Embedder, check_embeddings, check_texts, pad
from pgcorpus.services.embedding.choose import choose_embedder
from pgcorpus.services.embedding.local import LocalEmbedder
from pgcorpus.services.embedding.openai import OpenAIEmbedder

__all__ = [
    "Embedder",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "check_embeddings",
    "check_texts",
    "choose_embedder",
    "pad",
]
