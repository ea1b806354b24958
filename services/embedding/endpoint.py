"""What all calls of an OpenAI embedder share, and what they have cost."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from pgcorpus.services.embedding.batches import Batch
from pgcorpus.services.embedding.wire import EncodingFormat


@dataclass(frozen=True)
class Usage:
    """What was embedded so far.

    Attributes:
        requests: Requests that were answered.
        texts: Texts in them.
        tokens: Tokens by the server's own count; 0 where it does not say.
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0

    def plus(self, texts: int, tokens: int) -> Usage:
        """Return the usage after one more answer."""
        return Usage(self.requests + 1, self.texts + texts, self.tokens + tokens)


@dataclass(frozen=True)
class Job:
    """A batch to send, and how its vectors are asked for."""

    batch: Batch
    encoding: EncodingFormat


class Endpoint:
    """What all calls of an embedder share: the model, and what its answers taught. Safe between threads.

    Attributes:
        name: What the server calls the model.
        shortened: The length of vectors to ask for; None for the model's own.
        dimensions: Their length; None until an answer tells.
        encoding: How vectors are asked for; numbers, once base64 was refused.
        encoding_known: Whether an answer came to a request in this encoding.
        usage: What was embedded so far.
        address: Where the client sends, without credentials; for errors.
    """

    def __init__(self, name: str, shortened: int | None, dimensions: int | None, encoding: EncodingFormat) -> None:
        self.name, self.shortened = name, shortened
        self.dimensions = dimensions
        self.encoding: EncodingFormat = encoding
        self.encoding_known = False
        self.usage = Usage()
        self.address = "the server"
        self._lock = Lock()

    def answered(self, job: Job, tokens: int) -> None:
        """Count an answer, and remember the encoding that was understood."""
        with self._lock:
            self.usage = self.usage.plus(len(job.batch.texts), tokens)
            if not self.encoding_known:
                self.encoding, self.encoding_known = job.encoding, True
