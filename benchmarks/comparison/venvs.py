"""Virtual environments for peers that cannot share ours; made once, kept under ``benchmarks/.venvs``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
VENVS = Path(__file__).parents[1] / ".venvs"


class InstallError(Exception):
    """A peer could not be installed."""


def python_of(requirements: str) -> Path:
    """Return the interpreter of an environment with these requirements, made if there is none.

    Args:
        requirements: A file in ``benchmarks/comparison/requirements``.

    Raises:
        InstallError: It cannot be made; the message is pip's last line.
    """
    wanted = REQUIREMENTS / requirements
    folder = VENVS / wanted.stem
    stamp = folder / "installed"
    # Another version of Python, or other requirements: another environment.
    token = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != token:
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted))
        stamp.write_text(token)
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise InstallError(next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "?"))
