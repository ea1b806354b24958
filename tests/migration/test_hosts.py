"""A host's own Alembic and our history: beside each other, ours in a revision of the host's, or in its locations."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus import migrating, schema
from pgcorpus.errors import DatabaseError, MigrationLockError, SchemaError
from pgcorpus.locks import advisory_lock
from tests.support.hosts import AlembicHost, execute_script
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]

IMPORTS = "from pgcorpus import schema"

# The host's table refers to ours, so that the order of the revisions matters.
MODELS = """\
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgcorpus.models import Collection


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
"""
TOPIC = """

class Topic(Base):
    __tablename__ = "topics"

    id: Mapped[int] = mapped_column(primary_key=True)
    collection_id: Mapped[int] = mapped_column(ForeignKey(Collection.id))
"""

# How `alembic init` begins a transaction: one for all migrations, one for each, or (multidb) its own, before Alembic.
ENVIRONMENTS = [("generic", False), ("generic", True), ("async", True), ("multidb", False)]

MakeHost = Callable[..., AlembicHost]


@pytest.fixture
def make_host(tmp_path: Path, empty_url: URL, make_database: Callable[..., URL]) -> MakeHost:
    """Makes a host on the empty database, with a transaction for each migration or one for all."""

    def make(template: str = "generic", per_migration: bool = False) -> AlembicHost:
        second = make_database() if template == "multidb" else None
        host = AlembicHost.create(tmp_path / "host", empty_url, template=template, second_url=second)
        if template == "multidb":  # where our schema is not
            host.edit_env('"engine2": Base.metadata', '"engine2": type(Base.metadata)()')
        option = "target_metadata=target_metadata"
        if per_migration:
            host.edit_env(option, f"{option}, transaction_per_migration=True")
        return host

    return make


@pytest.fixture
def host(make_host: MakeHost) -> AlembicHost:
    """A host as `alembic init` makes it."""
    return make_host()


def applying(host: AlembicHost, up: str = "pgcorpus_0006", down: str = "base", since: str = "base") -> None:
    """Write the host's revision that applies ours."""
    host.write_revision(
        f"pgcorpus up to {up}",
        f"schema.apply(op, {up!r}, since={since!r})",
        f"schema.revert(op, {down!r}, since={up!r})",
        IMPORTS,
    )


def value(engine: Engine, sql: str) -> object:
    with engine.begin() as connection:
        return connection.scalar(text(sql))


def tables(engine: Engine) -> set[str]:
    with engine.begin() as connection:
        rows = connection.execute(
            text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'pgcorpus')")
        )
        return {f"{row.schemaname}.{row.tablename}" for row in rows} - {"public.alembic_version"}


OURS = {
    f"pgcorpus.{name}" for name in ("collections", "documents", "embedding_cache", "calibrations", "alembic_version")
}


# Our own runner


def test_a_host_beside_our_own_runner_sees_nothing_of_ours_and_we_nothing_of_it(
    host: AlembicHost, empty_engine: Engine
) -> None:
    schema.upgrade(empty_engine)
    host.models(MODELS)
    assert "pgcorpus" not in host.revision("users")
    host.alembic("upgrade", "head")
    assert "No new upgrade operations" in host.alembic("check")
    schema.check(empty_engine)
    host.alembic("downgrade", "base")
    assert tables(empty_engine) == OURS
    schema.check(empty_engine)


# A revision of the host's


@pytest.mark.parametrize(("template", "per_migration"), ENVIRONMENTS)
def test_a_revision_of_the_host_brings_our_schema_up_and_down(
    template: str, per_migration: bool, make_host: MakeHost, empty_engine: Engine
) -> None:
    host = make_host(template, per_migration)
    host.models(MODELS)
    host.revision("users")
    applying(host)
    host.alembic("upgrade", "head")
    host.models(MODELS + TOPIC)
    assert "pgcorpus.collections.id" in host.revision("topics")
    for _ in range(2):
        host.alembic("upgrade", "head")
        schema.check(empty_engine)
        assert tables(empty_engine) == {"public.users", "public.topics", *OURS}
        assert "No new upgrade operations" in host.alembic("check")
        host.alembic("downgrade", "base")
        assert schema.current(empty_engine) is None
        assert tables(empty_engine) == {"pgcorpus.alembic_version"}


@pytest.mark.parametrize("per_migration", [False, True])
def test_what_is_printed_for_a_host_does_what_its_upgrade_does(
    per_migration: bool, make_host: MakeHost, empty_engine: Engine
) -> None:
    host = make_host("generic", per_migration)
    host.write_revision("users", "op.execute('CREATE TABLE users (id SERIAL PRIMARY KEY)')", "op.drop_table('users')")
    applying(host, "pgcorpus_0002")
    applying(host, "pgcorpus_0006", "pgcorpus_0002", since="pgcorpus_0002")
    execute_script(empty_engine, host.alembic("upgrade", "head", "--sql"))
    schema.check(empty_engine)
    host.models(MODELS)
    assert "No new upgrade operations" in host.alembic("check")
    execute_script(empty_engine, host.alembic("downgrade", "heads:base", "--sql"))
    assert schema.current(empty_engine) is None
    assert tables(empty_engine) == {"pgcorpus.alembic_version"}


def test_printing_the_way_down_needs_to_be_told_where_it_begins(host: AlembicHost) -> None:
    host.write_revision("pgcorpus", "schema.apply(op, 'pgcorpus_0006')", "schema.revert(op, 'base')", IMPORTS)
    with pytest.raises(SchemaError, match=r"--sql cannot ask.*schema\.revert\(op, 'base', since="):
        host.alembic("downgrade", "heads:base", "--sql")


def test_an_unknown_revision_names_those_there_are_and_changes_nothing(host: AlembicHost, empty_engine: Engine) -> None:
    applying(host, "pgcorpus_9999")
    with pytest.raises(SchemaError, match=r"has pgcorpus_0001, .*pgcorpus_0006, and no pgcorpus_9999"):
        host.alembic("upgrade", "head")
    assert tables(empty_engine) == set()


def test_what_the_database_has_is_left_as_it_is(host: AlembicHost, empty_engine: Engine) -> None:
    """Our own runner came first: neither a revision that applies less nor one that reverts to more does anything."""
    schema.upgrade(empty_engine, "pgcorpus_0003")
    applying(host, "pgcorpus_0002", "pgcorpus_0006")
    host.alembic("upgrade", "head")
    assert schema.current(empty_engine) == "pgcorpus_0003"
    host.alembic("downgrade", "base")
    assert schema.current(empty_engine) == "pgcorpus_0003"


def test_our_own_runner_can_take_over(host: AlembicHost, empty_engine: Engine) -> None:
    applying(host, "pgcorpus_0002")
    host.alembic("upgrade", "head")
    with pytest.raises(SchemaError, match="is at pgcorpus_0002, this pgcorpus needs pgcorpus_0006"):
        schema.require_current(empty_engine)
    schema.upgrade(empty_engine)
    schema.check(empty_engine)


def test_a_database_ahead_of_this_code_is_not_touched(host: AlembicHost, empty_engine: Engine) -> None:
    schema.upgrade(empty_engine, "pgcorpus_0002")
    with empty_engine.begin() as connection:
        connection.execute(text("UPDATE pgcorpus.alembic_version SET version_num = 'pgcorpus_9999'"))
    applying(host)
    with pytest.raises(SchemaError, match="no pgcorpus_9999: a newer one may have it"):
        host.alembic("upgrade", "head")


def test_a_run_that_was_killed_is_taken_up_where_it_ended(host: AlembicHost, empty_engine: Engine) -> None:
    """The concurrent build waits for a writer; killed there, our tables are recorded and the index is invalid."""
    applying(host, "pgcorpus_0002")
    host.alembic("upgrade", "head")
    applying(host, "pgcorpus_0006", "pgcorpus_0002", since="pgcorpus_0002")
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
    )
    with empty_engine.connect() as writer:
        writer.execute(text("LOCK TABLE pgcorpus.documents IN ROW EXCLUSIVE MODE"))
        process = host.start("upgrade", "head")
        wait_until(lambda: value(empty_engine, waiting))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        value(empty_engine, waiting.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
        wait_until(lambda: not value(empty_engine, waiting))
    process.communicate()
    assert schema.current(empty_engine) == "pgcorpus_0002"
    assert value(empty_engine, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 1
    host.alembic("upgrade", "head")
    schema.check(empty_engine)


@pytest.mark.parametrize("template", ["generic", "multidb"])
def test_what_the_host_set_is_as_it_was_and_its_extension_is_used(
    template: str, make_host: MakeHost, empty_engine: Engine
) -> None:
    """Created in a schema off the path by an earlier revision, which the same transaction may hold still."""
    host = make_host(template)
    host.write_revision("extension", "op.execute('CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext')")
    host.write_revision(
        "pgcorpus",
        "op.execute(\"SET lock_timeout = '7s'; SET LOCAL statement_timeout = '70s'\")\n"
        "op.execute(\"SET LOCAL search_path = 'public'\")\n"
        "schema.apply(op, 'pgcorpus_0006')\n"
        'op.execute("CREATE TABLE seen AS SELECT name, setting FROM pg_settings")',
        imports=IMPORTS,
    )
    host.alembic("upgrade", "head")
    schema.check(empty_engine)
    for name, expected in (("lock_timeout", "7000"), ("statement_timeout", "70000"), ("search_path", "public")):
        assert value(empty_engine, f"SELECT setting FROM public.seen WHERE name = '{name}'") == expected


def test_what_was_applied_stays_when_the_hosts_revision_fails_after_it(host: AlembicHost, empty_engine: Engine) -> None:
    host.write_revision("pgcorpus", "schema.apply(op, 'pgcorpus_0002')\nop.execute('SELECT 1/0')", imports=IMPORTS)
    with pytest.raises(Exception, match="division by zero"):
        host.alembic("upgrade", "head")
    assert schema.current(empty_engine) == "pgcorpus_0002"


def test_a_host_that_began_the_transaction_itself_may_roll_all_of_it_back(
    make_host: MakeHost, empty_engine: Engine
) -> None:
    host = make_host("multidb")
    applying(host)
    host.write_revision("broken", "op.execute('SELECT 1/0')")
    with pytest.raises(Exception, match="division by zero"):
        host.alembic("upgrade", "head")
    assert tables(empty_engine) == set()


@pytest.mark.parametrize("template", ["generic", "multidb"])
def test_a_table_in_use_makes_the_hosts_revision_give_up_rather_than_queue(
    template: str, make_host: MakeHost, empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host(template)
    applying(host, down="pgcorpus_0001")
    host.alembic("upgrade", "head")
    if template == "generic":  # there, indexes are dropped concurrently, and wait for whom they keep out of nothing
        schema.downgrade(empty_engine, "pgcorpus_0002")
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "200ms")
    with empty_engine.connect() as reader:
        # Whoever waits for it without a limit gets through in the end, and the test fails rather than hangs.
        reader.execute(text("SET idle_in_transaction_session_timeout = '15s'"))
        reader.execute(text("LOCK TABLE pgcorpus.documents IN ACCESS SHARE MODE"))
        with pytest.raises(DatabaseError, match="lock timeout"):
            host.alembic("downgrade", "base")
    host.alembic("downgrade", "base")
    assert schema.current(empty_engine) == "pgcorpus_0001"


def test_a_hosts_revision_waits_for_another_migration(host: AlembicHost, empty_engine: Engine) -> None:
    host.write_revision("pgcorpus", "schema.apply(op, 'pgcorpus_0006', lock_wait=0.3)", imports=IMPORTS)
    with (
        advisory_lock(empty_engine, "migration", 0),
        pytest.raises(MigrationLockError, match=r"waited 0\.3 s for the migration of the server process"),
    ):
        host.alembic("upgrade", "head")
    assert tables(empty_engine) == set()


@pytest.mark.parametrize("template", ["generic", "multidb"])
def test_a_hosts_revision_that_waits_holds_up_nobodys_concurrent_build(
    template: str, make_host: MakeHost, empty_engine: Engine
) -> None:
    """Else both wait, one for the other's transaction and one for the other's lock, until a timeout ends it."""
    host = make_host(template)
    if template == "generic":  # its snapshot lasts as long as its transaction
        host.edit_env("poolclass=pool.NullPool", "poolclass=pool.NullPool, isolation_level='REPEATABLE READ'")
    applying(host)
    polling = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND query LIKE 'SELECT pg_try_advisory_lock%'"
    )
    with empty_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE TABLE scratch (id int)"))
        with advisory_lock(empty_engine, "migration", 0):
            process = host.start("upgrade", "head")
            wait_until(lambda: connection.scalar(text(polling)) == 2)  # the lock held here, and the one waited for
            connection.execute(text("SET statement_timeout = '5s'"))
            connection.execute(text("CREATE INDEX CONCURRENTLY ON scratch (id)"))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    schema.check(empty_engine)


# The host's version_locations


LOCATIONS = """\
version_locations =
    %(here)s/alembic/versions
    pgcorpus:migrations/versions
path_separator = newline
version_path_separator = newline
"""


@pytest.fixture
def make_locating(make_host: MakeHost) -> MakeHost:
    """Makes a host whose version_locations name our folder."""

    def make(template: str = "generic", per_migration: bool = False) -> AlembicHost:
        host = make_host(template, per_migration)
        lines = host.ini.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not re.match(r"(version_)?path_separator =", line)]
        host.ini.write_text("".join(kept).replace("prepend_sys_path", f"{LOCATIONS}prepend_sys_path", 1))
        return host

    return make


@pytest.fixture
def locating(make_locating: MakeHost) -> AlembicHost:
    """Such a host as `alembic init` makes it."""
    return make_locating()


BRANCH = ("--head", "base", "--version-path", "alembic/versions", "--branch-label", "app")


@pytest.mark.parametrize(("template", "per_migration"), ENVIRONMENTS[:3])
def test_a_host_runs_our_revisions_beside_its_own(
    template: str, per_migration: bool, make_locating: MakeHost, empty_engine: Engine
) -> None:
    host = make_locating(template, per_migration)
    host.alembic("upgrade", "pgcorpus@head")
    host.models(MODELS + TOPIC)
    assert "pgcorpus.collections.id" in host.revision("users", *BRANCH, "--depends-on", "pgcorpus_0002")
    for _ in range(2):
        host.alembic("upgrade", "heads")
        assert "No new upgrade operations" in host.alembic("check")
        schema.check(empty_engine)
        schema.require_current(empty_engine)
        host.alembic("downgrade", "base")
        assert tables(empty_engine) == set()


def test_merged_our_revisions_and_the_hosts_have_one_head(locating: AlembicHost, empty_engine: Engine) -> None:
    locating.models(MODELS)
    locating.write_revision("start", "pass", "pass", "", *BRANCH)
    locating.alembic("merge", "heads", "-m", "pgcorpus")
    locating.alembic("upgrade", "head")
    locating.revision("users")
    locating.alembic("upgrade", "head")
    assert "No new upgrade operations" in locating.alembic("check")
    schema.check(empty_engine)
    locating.alembic("downgrade", "base")
    assert tables(empty_engine) == set()


def test_what_is_printed_for_all_heads_makes_our_schema_too(locating: AlembicHost, empty_engine: Engine) -> None:
    locating.write_revision("start", "pass", "pass", "", *BRANCH)
    execute_script(empty_engine, locating.alembic("upgrade", "heads", "--sql"))
    schema.check(empty_engine)


def test_our_own_runner_leaves_a_schema_in_the_hosts_history_alone(locating: AlembicHost, empty_engine: Engine) -> None:
    """Its version is the host's business: our runner would begin at the first revision, over what is there."""
    locating.alembic("upgrade", "pgcorpus_0002")
    for command in (schema.current, schema.history, schema.upgrade, lambda engine: schema.downgrade(engine, "base")):
        with pytest.raises(SchemaError, match=r"names no revision: the host's own Alembic.*pgcorpus@head"):
            command(empty_engine)
    with pytest.raises(SchemaError, match=r"differs from the models.*ix_documents_embedding"):
        schema.require_current(empty_engine)
    locating.alembic("upgrade", "pgcorpus@head")
    schema.require_current(empty_engine)
    assert "pgcorpus.alembic_version" not in tables(empty_engine)


# The examples


@pytest.fixture
def example(tmp_path: Path, empty_url: URL, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AlembicHost]:
    """Copies one of the examples, to be run on the empty database."""

    def copied(name: str) -> AlembicHost:
        shutil.copytree(CHECKOUT / "examples" / name, tmp_path / name)
        return AlembicHost(tmp_path / name, "app")

    monkeypatch.setenv("DATABASE_URL", empty_url.render_as_string(hide_password=False))
    return copied


def in_a_process(host: AlembicHost) -> None:
    command = [sys.executable, "-W", "error", "migrate.py"]
    run = subprocess.run(command, cwd=host.path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("name", "migrate"),
    [
        ("own_runner", in_a_process),
        ("host_revision", lambda host: host.alembic("upgrade", "head")),
        ("version_locations", lambda host: host.alembic("upgrade", "heads")),
    ],
)
def test_an_example_runs_as_its_readme_says_and_goes_back(
    name: str,
    migrate: Callable[[AlembicHost], None],
    example: Callable[[str], AlembicHost],
    empty_engine: Engine,
) -> None:
    host = example(name)
    migrate(host)
    schema.check(empty_engine)
    assert "public.projects" in tables(empty_engine)
    assert "No new upgrade operations" in host.alembic("check")
    host.alembic("downgrade", "base")
    assert "public.projects" not in tables(empty_engine)


@pytest.mark.parametrize("name", ["host_revision", "version_locations"])
def test_an_example_prints_its_sql(name: str, example: Callable[[str], AlembicHost], empty_engine: Engine) -> None:
    host = example(name)
    execute_script(empty_engine, host.alembic("upgrade", "heads", "--sql"))
    schema.check(empty_engine)
    assert "No new upgrade operations" in host.alembic("check")
