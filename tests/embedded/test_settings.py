"""The embedded server's configuration, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgcorpus.embedded import settings
from pgcorpus.embedded.settings import MB
from pgcorpus.errors import EmbeddedServerError

GB = 1024 * MB


@pytest.mark.parametrize(
    ("memory", "shared", "maintenance"),
    [(512 * MB, "102MB", "192MB"), (8 * GB, "1638MB", "819MB"), (256 * GB, "2048MB", "2048MB")],
)
def test_memory_follows_the_machine(memory: int, shared: str, maintenance: str) -> None:
    """Sizes grow with the machine between a floor that holds an index build and a cap."""
    found = settings.machine_settings(memory, cores=4, shared_memory=64 * GB)
    assert (found["shared_buffers"], found["maintenance_work_mem"]) == (shared, maintenance)


@pytest.mark.parametrize(("free", "kind"), [(64 * MB, "mmap"), (255 * MB, "mmap"), (257 * MB, "posix"), (0, "mmap")])
def test_small_shared_memory_is_not_used(free: int, kind: str) -> None:
    """Docker's 64 MB of /dev/shm would end a parallel index build."""
    assert settings.machine_settings(GB, cores=2, shared_memory=free)["dynamic_shared_memory_type"] == kind


def test_shared_memory_must_hold_an_index_build() -> None:
    """A parallel build keeps maintenance_work_mem in shared memory, which must be larger."""
    found = settings.machine_settings(64 * GB, cores=2, shared_memory=GB)
    assert found["maintenance_work_mem"] == "2048MB"
    assert found["dynamic_shared_memory_type"] == "mmap"


@pytest.mark.parametrize(
    ("value", "quoted"), [("a'b", "'a''b'"), ("a\\b", "'a\\\\b'"), ("a\nb = 1", "'a\\nb = 1'"), ("", "''")]
)
def test_values_cannot_leave_their_quotes(value: str, quoted: str) -> None:
    """No value can begin a second setting."""
    assert settings.conf_text({"name": value}) == f"{settings.HEADER}name = {quoted}\n"


def test_socket_stays_ours_and_given_settings_win() -> None:
    """The caller may change what is a matter of taste, and not what the launcher needs."""
    found = settings.server_settings(Path("/run/x"), {"shared_buffers": "1MB"}, {"shared_buffers": "2MB"})
    assert found["shared_buffers"] == "2MB"
    assert found["listen_addresses"] == ""
    for name in ("Unix_Socket_Directories", "include_dir", "a b", "x\ny", ""):
        with pytest.raises(EmbeddedServerError):
            settings.server_settings(Path("/run/x"), {}, {name: "1"})


def test_only_named_users_are_mapped() -> None:
    """No rule lets an unnamed local user in, and none trusts."""
    assert settings.ident_text(["root", "ann", "ann"]).splitlines()[1:] == ['pgcorpus "ann" all', 'pgcorpus "root" all']
    rules = [line.split() for line in settings.hba_text().splitlines()[1:]]
    assert {rule[-2 if rule[0] == "local" else -1] for rule in rules} == {"peer", "scram-sha-256"}


def test_control_groups_limit_the_memory(tmp_path: Path) -> None:
    """The smallest limit of the own group and those above counts, in both versions of control groups."""
    proc = tmp_path / "cgroup"
    proc.write_text("4:cpu:/\n3:memory:/old\n0::/a/b\n")
    groups = tmp_path / "groups"
    for path, limit in (("a/memory.max", 3 * GB), ("memory/old/memory.limit_in_bytes", 4 * GB)):
        file = groups / path
        file.parent.mkdir(parents=True)
        file.write_text(f"{limit}\n")
    (groups / "a" / "b").mkdir()
    (groups / "a" / "b" / "memory.max").write_text("max\n")
    assert settings.usable_memory(proc, groups, machine=16 * GB) == 3 * GB
    assert settings.usable_memory(proc, groups, machine=GB) == GB
    assert settings.usable_memory(tmp_path / "none", groups, machine=16 * GB) == 16 * GB
