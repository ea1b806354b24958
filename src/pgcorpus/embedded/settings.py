"""Configuration of the server: sizes that fit the machine, and the text of its files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pgcorpus.errors import EmbeddedServerError

# Not "pgcorpus": "$user" on the search_path would then be the schema of that name, and a table of the user's own
# that is called documents would be taken for ours.
ROLE = "corpus"
DATABASE = "pgcorpus"
PORT = 5432
# How the cluster, our sessions and the map of users are called.
NAME = "pgcorpus"

MB = 1024 * 1024

# An HNSW graph of 20,000 vectors of 1536 dimensions takes 140 MB; beyond its memory a build is three times slower.
MAINTENANCE_FLOOR = 192 * MB
SHARED_MEMORY_FLOOR = 256 * MB
CAP = 2048 * MB

# The launcher itself depends on these.
RESERVED = {
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "include",
    "include_dir",
    "include_if_exists",
    "unix_socket_directories",
}

HEADER = (
    "# Written by pgcorpus at every start: changes here are lost. Use ALTER SYSTEM, or EmbeddedServer(settings=...).\n"
)


def machine_settings(memory: int, cores: int, shared_memory: int) -> dict[str, str]:
    """Return the settings that depend on the machine, in whole megabytes.

    Args:
        memory: Bytes that this process may use.
        cores: Processors that it may use.
        shared_memory: Free bytes in ``/dev/shm``, 0 where there is none.
    """
    maintenance = max(MAINTENANCE_FLOOR, min(memory // 10, CAP))
    # A parallel index build keeps its graph in dynamic shared memory: Docker's 64 MB of /dev/shm would end it.
    roomy = shared_memory >= max(SHARED_MEMORY_FLOOR, maintenance + 64 * MB)
    return {
        "shared_buffers": _megabytes(min(max(memory // 5, 32 * MB), CAP)),
        "effective_cache_size": _megabytes(max(memory // 2, 64 * MB)),
        "maintenance_work_mem": _megabytes(maintenance),
        "max_parallel_maintenance_workers": str(min(max(cores - 1, 1), 7)),
        "max_parallel_workers": str(min(max(cores, 2), 8)),
        "dynamic_shared_memory_type": "posix" if roomy else "mmap",
    }


def server_settings(socket_dir: Path, machine: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of a start; planner costs are left at their defaults on purpose.

    Args:
        socket_dir: The private folder of the socket.
        machine: The result of ``machine_settings``.
        given: The caller's own, which win.

    Raises:
        EmbeddedServerError: A setting of the caller's is one that the launcher depends on.
    """
    check_given(given)
    return {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        **machine,
        "max_wal_size": "2GB",
        "huge_pages": "off",
        "jit": "off",
        "cluster_name": NAME,
        **given,
    }


def check_given(given: Mapping[str, str]) -> None:
    """Refuse settings that are no settings, or that the launcher depends on.

    Raises:
        EmbeddedServerError: One is.
    """
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or "\0" in str(value):
            raise EmbeddedServerError(f"{name!r} = {value!r} is not a setting of PostgreSQL")
        if name.lower() in RESERVED:
            raise EmbeddedServerError(f"the setting {name} belongs to the embedded server: leave it out")


def conf_text(settings: Mapping[str, str]) -> str:
    """Render a configuration file."""
    return HEADER + "".join(f"{name} = {conf_quote(str(value))}\n" for name, value in settings.items())


def conf_quote(value: str) -> str:
    """Quote a value for a configuration file, whose strings know backslash escapes."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def hba_text() -> str:
    """Render the rules of who may connect: the users of the map by the socket, and by TCP only with a password."""
    rules = (
        f"local all all peer map={NAME}",
        f"local replication all peer map={NAME}",
        "host all all 127.0.0.1/32 scram-sha-256",
        "host all all ::1/128 scram-sha-256",
    )
    return HEADER + "\n".join(rules) + "\n"


def ident_text(users: Iterable[str]) -> str:
    """Render the map of system users who may be any role: they own the server and could anyway."""
    lines = (f'{NAME} "{user}" all' for user in sorted(set(users)))
    return HEADER + "\n".join(lines) + "\n"


def usable_memory(
    proc: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup"), machine: int | None = None
) -> int:
    """Return the bytes of memory that this process may use, control groups (containers) included."""
    if machine is None:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits(proc, groups)])


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_shared_memory(path: Path = Path("/dev/shm")) -> int:  # noqa: S108 - only its size is read
    """Return the free bytes where POSIX shared memory lives."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        # macOS keeps it in the kernel, without such a limit.
        return CAP * 2 if os.uname().sysname == "Darwin" else 0


def _group_limits(proc: Path, groups: Path) -> Iterable[int]:
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _limits_upwards(groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_upwards(groups / "memory", path, "memory.limit_in_bytes")


def _limits_upwards(mount: Path, path: str, name: str) -> Iterable[int]:
    # Every group up to the root limits us. Inside a container the path may be the host's: then only the root is there.
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        with_limit = folder / name
        if with_limit.is_file() and (text := with_limit.read_text().strip()).isdigit():
            yield int(text)
        if folder == mount:
            return


def _megabytes(size: int) -> str:
    return f"{size // MB}MB"
