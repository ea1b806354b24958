"""Data directories for the tests of the embedded server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgcorpus.embedded import EmbeddedServer, binaries
from pgcorpus.embedded.account import server_account
from tests.support.servers import (
    FAST,
)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that other accounts can pass through; pytest's tmp_path is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-"))
    folder.chmod(0o711)
    yield folder
    for marker in list(folder.rglob("PGCORPUS")):
        EmbeddedServer(marker.parent).reset(force=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def home(base: Path) -> Path:
    """One data directory, initialised once; no test leaves a server running in it."""
    return base / "shared"


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    """A server object on the shared directory, not started."""
    server = EmbeddedServer(home, FAST)
    yield server
    server.shutdown(force=True)


@pytest.fixture
def fresh(base: Path) -> Path:
    """A data directory of the test's own, not yet made."""
    folder = Path(tempfile.mkdtemp(dir=base))
    folder.chmod(0o711)
    return folder / "data"


@pytest.fixture
def reachable_programs(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the server's account can reach, also where the tests are installed under a closed folder."""
    found = binaries.find()
    if not found.usable_by(server_account(base / "none")):
        copied = found.copied_to(base)
        monkeypatch.setattr(binaries, "find", lambda: copied)
