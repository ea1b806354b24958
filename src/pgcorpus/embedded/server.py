"""The embedded server as a program sees it."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pgcorpus.embedded import binaries, cluster, pidfile, postmaster
from pgcorpus.embedded.account import Account, server_account
from pgcorpus.embedded.binaries import Install
from pgcorpus.embedded.failures import readable
from pgcorpus.embedded.holds import Holder, exclusive, holders, is_held
from pgcorpus.embedded.place import Place, default_data_dir
from pgcorpus.embedded.postmaster import Running, ServerProcess
from pgcorpus.embedded.settings import check_given
from pgcorpus.embedded.status import ServerStatus
from pgcorpus.errors import EmbeddedServerError

# Recovery after a power cut may take minutes on a slow disk, and so may the last checkpoint.
START_SECONDS = 300.0
STOP_SECONDS = 300.0
STATUS_SECONDS = 5.0
LOCK_SECONDS = START_SECONDS + STOP_SECONDS
LOCK_ATTEMPTS = 50


class EmbeddedServer:
    """A real PostgreSQL with pgvector, private to one system user (and root), without TCP.

    Any number of objects, threads and processes may use one data directory. Each ``start`` takes a hold and each
    ``stop`` gives one back; the last one of all processes stops the server. A hold ends with its process: on a
    normal exit the server is then stopped, after SIGKILL it is left running and the next last holder stops it.
    A forked child has no hold of its own until it calls ``start``. The settings of whoever starts the server apply.

    Args:
        data_dir: Where the data are; made when missing. ``default_data_dir()`` unless given.
        settings: PostgreSQL settings that win over ours, such as ``{"fsync": "off"}`` for tests.

    Raises:
        EmbeddedServerError: A setting is one that the launcher depends on.
    """

    def __init__(self, data_dir: Path | str | None = None, settings: Mapping[str, str] | None = None) -> None:
        # Resolved now: a later chdir must not mean another cluster.
        self._place = Place(Path(data_dir or default_data_dir()).expanduser().resolve())
        self._settings = dict(settings or {})
        self._holder = Holder(self._place.holds)
        self._running: Running | None = None
        check_given(self._settings)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def data_dir(self) -> Path:
        """Return where the data are."""
        return self._place.root

    @property
    def url(self) -> str:
        """Return the URL of the database ``pgcorpus`` for SQLAlchemy.

        Raises:
            EmbeddedServerError: The server does not run.
        """
        return self._current().url()

    def start(self) -> str:
        """Take a hold, and start the server unless it runs.

        Returns:
            The URL.

        Raises:
            MissingExtraError: The wheel is not installed.
            EmbeddedServerError: The server cannot be started; the message says what to do, or ends with the log.
        """
        with self._alone(make=True):
            self._holder.take()
            try:
                self._running = self._ensure_running()
            except BaseException:
                self._holder.give_back()
                self._clean_up()
                raise
            _holding.add(self)
            return self._running.url()

    def stop(self) -> None:
        """Give one hold back; the last holder stops the server unless it is to be kept. Without a hold: nothing.

        Raises:
            EmbeddedServerError: The server does not stop, or cannot be verified to be ours.
        """
        with self._holder.mutex:
            if not self._holder:
                return
            # First of all, so that no failure can leave the hold behind.
            self._holder.give_back()
            if not self._holder:
                _holding.discard(self)
            with self._alone():
                if self._is_unused():
                    self._halt()

    def keep_running(self) -> str:
        """Start the server if needed and let it outlive its holders until ``shutdown``; takes no hold.

        Returns:
            The URL.
        """
        with self._alone(make=True):
            self._running = self._ensure_running()
            self._place.kept.touch(mode=0o600)
            return self._running.url()

    def shutdown(self, force: bool = False) -> None:
        """Stop the server, giving back all holds of this object.

        Args:
            force: Stop it also under others' holds and connections.

        Raises:
            EmbeddedServerError: Others use it; the message names them.
        """
        with self._alone():
            if self._place.is_ours():
                self._shutdown(force)

    def reset(self, force: bool = False) -> None:
        """Stop the server and delete the data directory.

        Args:
            force: Also when others use it.

        Raises:
            EmbeddedServerError: Others use it, or the directory was not made by us.
        """
        with readable(self.data_dir):
            if not self._place.root.exists():
                return
            if not self._place.is_ours():
                raise EmbeddedServerError(f"{self.data_dir} is not a pgcorpus data directory: nothing was deleted")
        with self._alone():
            self._shutdown(force)
            self._place.remove()
            if self._place.pgdata.exists():
                raise EmbeddedServerError(f"not everything in {self.data_dir} could be deleted: delete it by hand")

    def status(self) -> ServerStatus:
        """Return what is known, without starting or changing anything."""
        with readable(self._place.root):
            running = postmaster.find(self._place.pgdata, STATUS_SECONDS)
            return ServerStatus(
                running=running is not None,
                data_dir=self.data_dir,
                url=running.url() if running else None,
                pid=running.entry.pid if running else None,
                version=running.version if running else self._data_version(),
                started_at=running.started_at if running else None,
                kept=running is not None and self._is_kept(),
                holders=holders(self._place.holds),
                size=self._place.size(),
                log=self._place.log,
            )

    def psql_command(self) -> list[str]:
        """Return the command line of a ``psql`` session, for this user as is (root included).

        Options may follow: a ``-d`` of theirs names another database of the same server.

        Raises:
            EmbeddedServerError: The server does not run.
        """
        return [str(self.binary("psql")), *self._current().options()]

    def binary(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs, such as ``pg_dump``.

        Raises:
            MissingExtraError: The wheel is not installed.
            EmbeddedServerError: There is no such program.
        """
        install = binaries.find()
        with readable(self._place.root):
            account = server_account(self._place.pgdata)
        if self._place.is_ours() and not install.usable_by(account):
            with self._alone():
                install = install.copied_to(self._place.root)
        return install.program(name)

    @contextmanager
    def _alone(self, make: bool = False) -> Iterator[None]:
        """Keep every other thread and process from starting and stopping this server."""
        with self._holder.mutex, readable(self._place.root), ExitStack() as stack:
            if make:
                binaries.find()
            for attempts_left in reversed(range(LOCK_ATTEMPTS)):
                try:
                    self._enter(stack, make)
                    break
                except FileNotFoundError:
                    # Another process is deleting the directory.
                    stack.close()
                    if not attempts_left:
                        raise
            yield

    def _enter(self, stack: ExitStack, make: bool) -> None:
        if make:
            self._place.make()
        if self._place.root.exists():
            self._place.check_owner()
            stack.enter_context(exclusive(self._place.state, LOCK_SECONDS))
        if make:
            # Again: it may have been reset while we waited.
            self._place.make()

    def _ensure_running(self) -> Running:
        running = postmaster.find(self._place.pgdata, START_SECONDS) or self._launch()
        if not running.has_database:
            postmaster.create_database(running)
        return running

    def _launch(self) -> Running:
        place = self._place
        binaries.check_cpu()
        account = server_account(place.pgdata)
        place.check_reachable(account)
        place.remove_leftovers()
        place.kept.unlink(missing_ok=True)
        install = self._install(account)
        cluster.ensure(place, install, account, sync=self._settings.get("fsync") != "off")
        cluster.configure(place, account, place.socket_dir(account), self._settings)
        process, running = postmaster.launch(place, install, account, START_SECONDS)
        _children.append(process)
        return running

    def _install(self, account: Account) -> Install:
        install = binaries.find()
        return install if install.usable_by(account) else install.copied_to(self._place.root)

    def _shutdown(self, force: bool) -> None:
        own = len(self._holder)
        self._drop_holds()
        if not force and (users := self._users()):
            # Nothing can have happened in between: we are alone.
            self._take_holds(own)
            raise EmbeddedServerError(
                f"the server in {self.data_dir} is in use by {', '.join(users)}: end them first, or use force"
            )
        self._halt()

    def _users(self) -> list[str]:
        users = []
        if is_held(self._place.holds):
            found = holders(self._place.holds)
            users += [f"process {pid}" for pid in found] or ["another process"]
        running = postmaster.find(self._place.pgdata, START_SECONDS)
        if running is not None:
            users += [f"client {name}" for name in postmaster.clients(self._place.pgdata, running)]
        return users

    def _halt(self) -> None:
        entry = pidfile.read(self._place.pgdata)
        postmaster.halt(self._place.pgdata, STOP_SECONDS)
        self._running = None
        self._place.kept.unlink(missing_ok=True)
        _reap()
        if entry is not None:
            self._place.remove_socket_dir(entry.socket_dir)

    def _clean_up(self) -> None:
        """Leave no server behind a start that failed after all."""
        with suppress(EmbeddedServerError, OSError):
            if self._is_unused():
                self._halt()

    def _drop_holds(self) -> None:
        while self._holder:
            self._holder.give_back()
        _holding.discard(self)

    def _take_holds(self, number: int) -> None:
        for _ in range(number):
            self._holder.take()
            _holding.add(self)

    def _is_unused(self) -> bool:
        return self._place.is_ours() and not is_held(self._place.holds) and not self._is_kept()

    def _is_kept(self) -> bool:
        return self._place.kept.exists()

    def _current(self) -> Running:
        with self._holder.mutex, readable(self._place.root):
            if self._running is not None and self._holder:
                return self._running
            running = postmaster.find(self._place.pgdata, START_SECONDS)
        if running is None:
            raise EmbeddedServerError(
                f"the embedded server in {self.data_dir} does not run: start it with `pgcorpus db start`, or use "
                "`with EmbeddedServer() as server`"
            )
        return running

    def _data_version(self) -> str | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return (self._place.pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
        return None


# Objects with a hold, to be given back at exit; and the servers started here, to be asked for their end now and then.
_holding: set[EmbeddedServer] = set()
_children: list[ServerProcess] = []


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _stop_all() -> None:
    for server in list(_holding):
        with suppress(EmbeddedServerError):
            while server._holder:
                server.stop()


def _after_fork() -> None:
    # What the parent started and holds is the parent's.
    _holding.clear()
    _children.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_after_fork)
