"""Where the PostgreSQL manual is on this machine, or how it comes here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PACKAGE = "postgresql-doc-15"
CACHE = Path(__file__).parent / ".cache"
INDEX = "bookindex.html"
DOWNLOAD_SECONDS = 120

_INSTALLED = Path("/usr/share/doc")


class ManualError(Exception):
    """There is no manual to measure with."""


def find_manual(given: Path | None = None) -> Path:
    """Return the folder of the manual's pages: the one given, else cached, installed, or downloaded.

    Args:
        given: An unpacked manual, or a folder somewhere above its pages.

    Raises:
        ManualError: There is none, and it cannot be downloaded.
    """
    if given is not None:
        return _required(given, f"{given} holds no {INDEX}: name the folder of the manual's HTML pages")
    return _pages_below(CACHE) or _installed() or _downloaded()


def _required(folder: Path, message: str) -> Path:
    pages = _pages_below(folder)
    if pages is None:
        raise ManualError(message)
    return pages


def _pages_below(folder: Path) -> Path | None:
    return next((index.parent for index in sorted(folder.rglob(INDEX))), None)


def _installed() -> Path | None:
    """Of several the newest."""
    folders = sorted(_INSTALLED.glob("postgresql-doc-*/html"), key=_version, reverse=True)
    return next((folder for folder in folders if (folder / INDEX).is_file()), None)


def _version(folder: Path) -> int:
    digits = re.search(r"\d+", folder.parent.name)
    return int(digits[0]) if digits else 0


def _downloaded() -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ManualError(f"{_NONE} Neither apt-get nor dpkg is here to fetch it with.")
    CACHE.mkdir(exist_ok=True)
    _run("apt-get", "download", PACKAGE)
    package = max(CACHE.glob(f"{PACKAGE}_*.deb"))
    _run("dpkg", "-x", package.name, PACKAGE)
    package.unlink()
    return _required(CACHE / PACKAGE, f"the package {PACKAGE} holds no {INDEX}")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, cwd=CACHE, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as exc:
        raise ManualError(f"{_NONE} {' '.join(command)} took over {DOWNLOAD_SECONDS} seconds.") from exc
    except subprocess.CalledProcessError as exc:
        raise ManualError(f"{_NONE} {' '.join(command)} failed:\n{exc.stderr.strip()}") from exc


_NONE = f"There is no PostgreSQL manual on this machine: install {PACKAGE}, or name one with --manual."
