"""Which system account runs the server, and what it can reach."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pgcorpus.errors import EmbeddedServerError

# As root the server needs another account. `postgres` is the one that a PostgreSQL administrator already
# trusts with databases; `nobody` is shared with every squashed NFS client and careless daemon: a last resort.
PREFERRED = ("postgres", "nobody")

EXECUTE = 0o1
READ = 0o4

# Variables that programs may need. The rest stays here: as root, the server's account could read
# an API key in /proc/PID/environ, and a stray PGDATA or PGPORT would change the server.
INHERITED = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Identity(TypedDict, total=False):
    """The arguments of ``subprocess.Popen`` that change who runs a program."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The system account of the server.

    Attributes:
        uid: Its user id.
        gid: Its primary group id; the server gets no other group.
        name: Its name.
        other: Whether it is not the account of this process.
    """

    uid: int
    gid: int
    name: str
    other: bool

    def identity(self) -> Identity:
        """Return what ``subprocess.Popen`` needs to run a program under this account."""
        if not self.other:
            return {}
        # [gid] and not []: Python 3.12.0 keeps root's groups when given an empty list (CVE-2023-6507).
        return {"user": self.uid, "group": self.gid, "extra_groups": [self.gid]}

    def give(self, path: Path) -> None:
        """Make this account the owner of a file or folder that this process just made."""
        if self.other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def may(self, path: Path, right: int) -> bool:
        """Say whether the mode bits of one path give this account a right; access lists are not read."""
        state = path.stat()
        if state.st_uid == self.uid:
            return bool(state.st_mode >> 6 & right)
        if state.st_gid == self.gid:
            return bool(state.st_mode >> 3 & right)
        return bool(state.st_mode & right)

    def blocked_at(self, path: Path) -> Path | None:
        """Return the first existing folder, from the root down to a path, that this account cannot enter."""
        if not self.other:
            return None
        steps = (*reversed(path.parents), path)
        return next((step for step in steps if step.is_dir() and not self.may(step, EXECUTE)), None)


def server_account(pgdata: Path) -> Account:
    """Choose the account for a cluster: this user's, or as root the owner of the files, ``postgres`` or ``nobody``.

    Args:
        pgdata: The cluster's directory, which need not exist.

    Raises:
        EmbeddedServerError: There is no account that PostgreSQL could run under.
    """
    if os.geteuid() != 0:
        return _own_account()
    if pgdata.exists():
        return _owner(pgdata)
    return _preferred()


def own_name() -> str:
    """Return the name of the user of this process.

    Raises:
        EmbeddedServerError: The user has no name, as in containers that run under an arbitrary number.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as exc:
        raise EmbeddedServerError(
            f"user id {os.geteuid()} has no entry in /etc/passwd, and PostgreSQL needs one: add it "
            "(echo 'pgcorpus:x:$(id -u):$(id -g)::/tmp:/bin/sh' >> /etc/passwd) or run as a named user"
        ) from exc


def root_name() -> str:
    """Return the name of user 0, ``root`` nearly everywhere."""
    try:
        return pwd.getpwuid(0).pw_name
    except KeyError:
        return "root"


def child_environment() -> dict[str, str]:
    """Return the few variables that PostgreSQL's programs get."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # The programs' answers are read here; and macOS refuses to start a server without a valid locale.
    return {**kept, "LC_ALL": "C"}


def _own_account() -> Account:
    return Account(os.geteuid(), os.getegid(), own_name(), other=False)


def _owner(pgdata: Path) -> Account:
    uid = pgdata.stat().st_uid
    if uid == 0:
        raise EmbeddedServerError(
            f"{pgdata} belongs to root, and PostgreSQL refuses to run as root: "
            f"give it back (chown -R {_preferred().name} '{pgdata}')"
        )
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(uid, pgdata.stat().st_gid, str(uid), other=True)
    return Account(uid, entry.pw_gid, entry.pw_name, other=True)


def _preferred() -> Account:
    for name in PREFERRED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, other=True)
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root, and there is no account 'postgres' or 'nobody': run as an ordinary user"
    )
