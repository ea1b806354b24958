"""The passages of one source with their embeddings: in memory, or on disk where there are many."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, overload

import numpy as np

from pgcorpus.errors import SourceError
from pgcorpus.repositories import Draft
from pgcorpus.vectors import Array

# Characters of a source's passages that are held in memory. A passage's embedding of 1,536 dimensions takes 6 KB beside
# its kilobyte of text, so this stands for some 60 MB.
IN_MEMORY_CHARS = 8_000_000


class Shelf(Sequence[Draft]):
    """Drafts in their order, each with its embedding once it has one.

    It is what a repository syncs a source from: a sequence that is gone through several times. A source of any length
    is written in one transaction and takes little memory.
    """

    def __init__(self) -> None:
        self._drafts: list[Draft] | _DraftsOnDisk = []

    def fill(self, drafts: Iterable[Draft]) -> None:
        """Take the drafts, in memory as long as they are few."""
        held: list[Draft] = []
        characters = 0
        remaining = iter(drafts)
        for draft in remaining:
            held.append(draft)
            characters += len(draft.content)
            if characters > IN_MEMORY_CHARS:
                # Known here before anything is written to it, so that it is closed if that fails.
                self._drafts = on_disk = _DraftsOnDisk()
                on_disk.extend(held)
                on_disk.extend(remaining)
                return
        self._drafts = held

    def put(self, place: int, vector: Array) -> None:
        """Give a draft its embedding."""
        if isinstance(self._drafts, list):
            self._drafts[place] = replace(self._drafts[place], embedding=vector)
        else:
            self._drafts.put(place, vector)

    def bare(self, places: Iterable[int]) -> list[int]:
        """Return those of the places that have no embedding yet."""
        return [place for place in places if self._drafts[place].embedding is None]

    def text(self, place: int) -> str:
        """Return a draft's content."""
        return self._drafts[place].content

    def close(self) -> None:
        """Give back what lies on disk."""
        if not isinstance(self._drafts, list):
            self._drafts.close()

    def __len__(self) -> int:
        return len(self._drafts)

    def __iter__(self) -> Iterator[Draft]:
        return iter(self._drafts)

    @overload
    def __getitem__(self, place: int) -> Draft: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Draft]: ...
    def __getitem__(self, place: int | slice) -> Draft | Sequence[Draft]:
        return self._drafts[place]


class _DraftsOnDisk(Sequence[Draft]):
    """Drafts and vectors in a temporary file that nobody else sees; in memory some bytes for each.

    Raises:
        SourceError: The disk takes no more.
    """

    def __init__(self) -> None:
        with _refusal_told():
            self._file = tempfile.TemporaryFile(prefix="pgcorpus-")  # noqa: SIM115 -- it lives as long as this
        self._end = 0
        self._drafts = array("Q")
        self._vectors: dict[int, int] = {}
        self._vector_size = 0

    def extend(self, drafts: Iterable[Draft]) -> None:
        for draft in drafts:
            data = pickle.dumps(draft, pickle.HIGHEST_PROTOCOL)
            self._drafts.extend((self._append(data), len(data)))

    def put(self, place: int, vector: Array) -> None:
        data = np.ascontiguousarray(vector, np.float32).tobytes()
        self._vectors[place], self._vector_size = self._append(data), len(data)

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._drafts) // 2

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        # Written by this process to a file without a name.
        draft: Draft = pickle.loads(self._read(*self._drafts[2 * place : 2 * place + 2]))  # noqa: S301
        at = self._vectors.get(place)
        if at is None:
            return draft
        return replace(draft, embedding=np.frombuffer(self._read(at, self._vector_size), np.float32))

    def _append(self, data: bytes) -> int:
        at, self._end = self._end, self._end + len(data)
        with _refusal_told():
            if os.pwrite(self._file.fileno(), data, at) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return at

    def _read(self, at: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, at)


@contextmanager
def _refusal_told() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise SourceError(
            f"a long source waits in a temporary file, and {tempfile.gettempdir()} cannot hold it ({exc.strerror}): "
            "free space there, or set TMPDIR to a folder with more"
        ) from exc
