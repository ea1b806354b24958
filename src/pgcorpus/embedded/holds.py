"""Who uses a data directory, counted by the kernel: a lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgcorpus.errors import EmbeddedServerError

POLL_SECONDS = 0.02


class Holder:
    """The holds of one object: each a shared lock on a descriptor of its own.

    A forked child has copies of the descriptors but no hold: it closes them, which leaves the parent's alone.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mutex = threading.RLock()
        self._descriptors: list[int] = []
        _holders.add(self)

    def __len__(self) -> int:
        return len(self._descriptors)

    def take(self) -> None:
        """Take one more hold. To be called under ``exclusive`` only, else ``is_held`` could be in the way."""
        descriptor = _open(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptors.append(descriptor)

    def give_back(self) -> None:
        """Give the latest hold back."""
        descriptor = self._descriptors.pop()
        # Closing alone would leave it to a child that was forked by other means than Python's.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def forget_parent(self) -> None:
        """Begin anew in a forked child."""
        # A thread that the child does not have may have been inside.
        self.mutex = threading.RLock()
        for descriptor in self._descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self._descriptors = []


def is_held(path: Path) -> bool:
    """Say whether anyone, this process included, has a hold. To be called under ``exclusive`` only."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    finally:
        os.close(descriptor)


def holders(path: Path) -> tuple[int, ...]:
    """Return the ids of the processes with a hold, where the system tells (Linux)."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ()
    # 7: FLOCK  ADVISORY  READ 4711 fe:00:262147 0 EOF; a waiting lock has "->" in the second place.
    fields = (line.split() for line in lines)
    found = {int(f[4]) for f in fields if f[1] == "FLOCK" and f[5].rpartition(":")[2] == str(inode)}
    return tuple(sorted(found))


@contextmanager
def exclusive(path: Path, seconds: float) -> Iterator[None]:
    """Let one process and one thread at a time start, stop or delete a server.

    Args:
        path: The lock file; its folder must exist.
        seconds: How long to wait for another one.

    Raises:
        EmbeddedServerError: The other one takes too long.
    """
    descriptor = _lock(path, time.monotonic() + seconds)
    try:
        yield
    finally:
        # Closing alone would leave the lock to a child which another thread forked meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(path: Path, deadline: float) -> int:
    while True:
        descriptor = _open(path)
        if _try_lock(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"another process has been starting or stopping the server in {path.parent} for too long: "
                f"see who with `fuser '{path}'`"
            )
        time.sleep(POLL_SECONDS)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The directory may have been reset, lock file included, while we waited.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _forget_parents() -> None:
    for holder in list(_holders):
        holder.forget_parent()


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_parents)
