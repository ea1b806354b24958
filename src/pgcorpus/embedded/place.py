"""The folders and files of one data directory."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

from pgcorpus.embedded.account import Account
from pgcorpus.errors import EmbeddedServerError

SYSTEM_DATA_DIR = Path("/var/lib/pgcorpus")
SHORT_DIR = Path("/tmp")  # noqa: S108 - the one short path on every system; a name taken by others is not used

SOCKET_PREFIX = "pgcorpus-"

# sun_path is 108 bytes on Linux and 104 on macOS, ".s.PGSQL.65535.lock" included.
LONGEST_SOCKET_DIR = 80
# PostgreSQL's MAXPGPATH is 1024, and it adds names of its own.
LONGEST_DATA_DIR = 900

MARKER_TEXT = "This folder belongs to pgcorpus: an embedded PostgreSQL. `pgcorpus db reset` deletes it.\n"


def default_data_dir() -> Path:
    """Return where data are kept unless told: the user's data folder, as root ``/var/lib/pgcorpus``.

    The server cannot run as root, and no other account can enter root's home.
    """
    if os.geteuid() == 0:
        return SYSTEM_DATA_DIR
    return platformdirs.user_data_path("pgcorpus")


class Place:
    """Names everything inside one data directory.

    Args:
        root: The data directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pgdata = root / "pgdata"
        self.log = root / "server.log"
        self.old_log = root / "server.log.1"
        self.marker = root / "PGCORPUS"
        self.kept = root / "kept"
        self.holds = root / "holds.lock"
        self.state = root / "state.lock"
        self.run = root / "run"

    def is_ours(self) -> bool:
        """Say whether the directory was made by us."""
        return self.marker.is_file()

    def make(self) -> None:
        """Make the directory, or adopt one that exists and is empty.

        Raises:
            EmbeddedServerError: It belongs to someone else, has other contents or an impossible name.
        """
        self._check_name()
        if not self.root.exists():
            _make_folders(self.root)
        self.check_owner()
        self._adopt()

    def check_owner(self) -> None:
        """Refuse a directory of another user: its locks and files would shut that user out.

        Raises:
            EmbeddedServerError: It is.
        """
        if not self.root.is_dir():
            raise EmbeddedServerError(f"{self.root} is not a directory: choose another data_dir")
        owner = self.root.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedServerError(
                f"{self.root} belongs to user id {owner}, and this process runs as {os.geteuid()}: "
                "run as that user, or choose another data_dir (PGCORPUS_DATA_DIR), such as a new folder inside it"
            )

    def check_reachable(self, account: Account) -> None:
        """Refuse a directory that the server's account cannot enter; modes of parents are never changed.

        Raises:
            EmbeddedServerError: It cannot.
        """
        blocked = account.blocked_at(self.root)
        if blocked is not None:
            raise EmbeddedServerError(
                f"PostgreSQL refuses to run as root, so it runs as '{account.name}', which cannot enter {blocked}: "
                f"choose a data_dir (PGCORPUS_DATA_DIR) elsewhere, such as {SYSTEM_DATA_DIR}, "
                f"or allow it (chmod o+x '{blocked}')"
            )

    def socket_dir(self, account: Account) -> Path:
        """Return a folder for the socket, empty and open to the server's account only."""
        for folder in self._socket_dirs(account):
            if _make_private(folder, account):
                _clear_sockets(folder)
                return folder
        folder = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir=SHORT_DIR))
        account.give(folder)
        return folder

    def remove_socket_dir(self, folder: Path) -> None:
        """Remove the folder of a stopped server's socket, if it is one that we make."""
        ours = folder == self.run or (folder.parent == SHORT_DIR and folder.name.startswith(SOCKET_PREFIX))
        if ours and folder.is_dir() and not folder.is_symlink():
            _clear_sockets(folder)
            with suppress(OSError):
                folder.rmdir()

    def put(self, path: Path, text: str, account: Account) -> None:
        """Write a file for the server in one step, never through a link that its account may have laid."""
        descriptor, name = tempfile.mkstemp(prefix="tmp-", dir=self.root)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        account.give(Path(name))
        Path(name).replace(path)

    def open_log(self, largest: int) -> int:
        """Open the server's log for appending, after setting aside one that has grown large."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > largest:
                self.log.replace(self.old_log)
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def size(self) -> int:
        """Return the bytes on disk."""
        return sum(_bytes_of(Path(folder) / name) for folder, _, names in os.walk(self.root) for name in names)

    def remove_leftovers(self) -> None:
        """Remove what a killed start left half made."""
        for path in (*self.root.glob("*.new-*"), *self.root.glob("tmp-*")):
            _remove(path)

    def remove(self) -> None:
        """Remove everything of ours; the folder itself stays if someone put other files there."""
        self.remove_leftovers()
        # The locks go last: a process that waits for one notices. Until the marker goes, all is still ours.
        names = (self.pgdata, self.run, *self.root.glob("binaries-*"), self.log, self.old_log, self.kept)
        for path in (*names, self.marker, self.holds, self.state):
            _remove(path)
        with suppress(OSError):
            self.root.rmdir()

    def _check_name(self) -> None:
        if re.search(r"[\x00-\x1f]", str(self.root)):
            raise EmbeddedServerError("the data_dir has a control character in its name: choose another")
        if len(os.fsencode(self.root)) > LONGEST_DATA_DIR:
            raise EmbeddedServerError(f"the data_dir is longer than {LONGEST_DATA_DIR} bytes: choose another")

    def _adopt(self) -> None:
        if self.is_ours():
            return
        # Another process may be in the middle of making or deleting the same.
        passing = {self.marker.name, self.state.name, self.holds.name}
        if foreign := sorted({path.name for path in self.root.iterdir()} - passing):
            raise EmbeddedServerError(
                f"{self.root} is not a pgcorpus data directory (it holds {foreign[0]}): choose a new or empty one"
            )
        if os.geteuid() == 0:
            # It is ours from here on, and the server's account must pass through.
            self.root.chmod(0o711)
        self.marker.write_text(MARKER_TEXT)

    def _socket_dirs(self, account: Account) -> tuple[Path, ...]:
        # libpq and SQLAlchemy split hosts at commas and colons, so an unusual path is not used at all.
        plain = re.fullmatch(r"[A-Za-z0-9/._+@-]+", str(self.run)) is not None
        if plain and len(str(self.run)) <= LONGEST_SOCKET_DIR:
            return (self.run,)
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return (SHORT_DIR / f"{SOCKET_PREFIX}{account.uid}-{digest}",)


def _make_folders(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            path.chmod(0o711)


def _make_private(folder: Path, account: Account) -> bool:
    try:
        folder.mkdir(mode=0o700)
        account.give(folder)
    except FileExistsError:
        pass
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == account.uid and not state.st_mode & 0o077


def _clear_sockets(folder: Path) -> None:
    # A lock file here names a process id, and that id may be someone else's by now.
    for path in folder.glob(".s.PGSQL.*"):
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _bytes_of(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0
