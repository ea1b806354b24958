"""A host: a project of its own made by the real `alembic init`, whose commands the tests run as its developer would."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from unittest import mock

from alembic.config import CommandLine, Config
from sqlalchemy import Engine
from sqlalchemy.engine import URL

_numbers = count(1)

EMPTY_MODELS = """\
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass
"""

# What `alembic init` writes as the place of the models, by template.
PLACEHOLDERS = {
    "target_metadata = None": "target_metadata = Base.metadata",
    "target_metadata = {}": 'target_metadata = {"engine1": Base.metadata, "engine2": Base.metadata}',
}


# Before 1.18 a project says in its env.py that it wants the plugin.
HAS_PLUGINS = find_spec("alembic.runtime.plugins") is not None
ONE_LINE = "from pgcorpus import autogenerate; autogenerate.setup()"


@dataclass(frozen=True)
class AlembicHost:
    """A directory with an alembic.ini, an alembic/env.py and a module of models.

    Attributes:
        path: The project.
        module: The name of the models' module, unlike any other host's of this run.
    """

    path: Path
    module: str

    @classmethod
    def create(cls, path: Path, url: URL, *, template: str = "generic", second_url: URL | None = None) -> AlembicHost:
        """Make a project with `alembic init` whose models are none yet.

        Args:
            path: Where; made if it is not there.
            url: Its database; the template ``async`` has it on psycopg 3, whatever the driver.
            template: Alembic's own: ``generic``, ``async`` or ``multidb``.
            second_url: What ``multidb`` calls engine2; ``url`` is engine1.
        """
        path.mkdir(exist_ok=True, parents=True)
        host = cls(path, f"host{next(_numbers)}_models")
        host.models(EMPTY_MODELS)
        host.alembic("init", "-t", template, "alembic")
        urls = [url, url if second_url is None else second_url]
        if template == "async":
            urls = [each.set(drivername="postgresql+psycopg") for each in urls]
        host._set_urls(urls)
        host._set_metadata()
        if not HAS_PLUGINS:
            host.edit_env("from alembic import context\n", f"from alembic import context\n{ONE_LINE}\n")
        return host

    @property
    def ini(self) -> Path:
        return self.path / "alembic.ini"

    @property
    def env(self) -> Path:
        return self.path / "alembic" / "env.py"

    @property
    def versions(self) -> Path:
        return self.path / "alembic" / "versions"

    def models(self, source: str) -> None:
        """Write the module of the models; it has to define ``Base``."""
        (self.path / f"{self.module}.py").write_text(source)

    def edit_env(self, old: str, new: str) -> None:
        """Replace a piece of alembic/env.py, wherever it stands."""
        _edit(self.env, old, new)

    def edit_ini(self, old: str, new: str) -> None:
        """Replace a piece of alembic.ini, wherever it stands."""
        _edit(self.ini, old, new)

    def alembic(self, *arguments: str) -> str:
        """Run the Alembic command line in this process and return what it prints.

        What fails is raised as it is (``CommandError``, ``SchemaError``), with what was printed as a note.
        """
        output = io.StringIO()
        try:
            with self._at_home(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                _run(output, *arguments)
        except SystemExit as exc:
            raise RuntimeError(f"alembic {' '.join(arguments)}: {output.getvalue()}") from exc
        except Exception as exc:
            exc.add_note(f"alembic {' '.join(arguments)}: {output.getvalue()}")
            raise
        return output.getvalue()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the Alembic command line in a process of its own, to be killed; its output is one pipe."""
        return subprocess.Popen(
            [sys.executable, "-m", "alembic.config", *arguments],
            cwd=self.path,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def revision(self, message: str, *arguments: str) -> str:
        """Run `alembic revision --autogenerate` and return the text of the new file."""
        self.alembic("revision", "--autogenerate", "-m", message, *arguments)
        return self.newest().read_text()

    def write_revision(
        self, message: str, upgrade_body: str, downgrade_body: str = "pass", imports: str = "", *arguments: str
    ) -> Path:
        """Run `alembic revision` and fill the new file by hand, as a developer does.

        Args:
            message: Its first line.
            upgrade_body: The statements of upgrade(), not indented; of ``multidb``, those for engine1.
            downgrade_body: Likewise of downgrade().
            imports: Lines above the functions.
            *arguments: More for `alembic revision`, such as ``--rev-id``.
        """
        self.alembic("revision", "-m", message, *arguments)
        path = self.newest()
        text = path.read_text().replace("from alembic import op", f"from alembic import op\n{imports}")
        for name, body in (("upgrade", upgrade_body), ("downgrade", downgrade_body)):
            text = _fill(text, name, body)
        path.write_text(text)
        return path

    def newest(self) -> Path:
        """Return the revision file written last."""
        return max(self.versions.glob("*.py"), key=lambda path: path.stat().st_mtime_ns)

    def _set_urls(self, urls: list[URL]) -> None:
        for url in urls:
            value = url.render_as_string(hide_password=False).replace("%", "%%")
            self.ini.write_text(re.sub(r"driver://\S+", lambda _, value=value: value, self.ini.read_text(), count=1))

    def _set_metadata(self) -> None:
        for old, new in PLACEHOLDERS.items():
            if old in self.env.read_text():
                self.edit_env(old, f"from {self.module} import Base\n\n{new}")

    @contextlib.contextmanager
    def _at_home(self) -> Iterator[None]:
        """Be in the project as a new process would: its directory, its modules read again, and no trace after."""
        sys.modules.pop(self.module, None)
        importlib.invalidate_caches()  # "." on sys.path was another project the last time
        with (
            contextlib.chdir(self.path),
            mock.patch.object(sys, "path", list(sys.path)),
            # A file that is written twice in a second would be taken from its bytecode.
            mock.patch.object(sys, "dont_write_bytecode", True),
            # It would disable every logger of this process, and hand them a standard error that is closed soon.
            mock.patch("logging.config.fileConfig"),
        ):
            yield


def execute_script(engine: Engine, script: str) -> None:
    """Do what psql does with a printed migration: each statement by itself, BEGIN and COMMIT among them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements_of(script):
            connection.exec_driver_sql(statement)


def statements_of(script: str) -> Iterator[str]:
    """Split a script as psql does: at semicolons that are not inside a dollar-quoted body."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if line.rstrip().endswith(";") and len(re.findall(r"\$\w*\$", statement)) % 2 == 0:
            yield statement
            statement = ""


def _run(output: io.StringIO, *arguments: str) -> None:
    """Do what ``alembic.config.main`` does, with an output of our own: its default is bound at import."""
    command_line = CommandLine()
    options = command_line.parser.parse_args(["--raiseerr", *arguments])
    config = Config("alembic.ini", stdout=output, output_buffer=output, cmd_opts=options)
    command_line.run_cmd(config, options)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new))


def _fill(text: str, function: str, body: str) -> str:
    indented = "".join(f"    {line}\n" if line else "\n" for line in body.strip().splitlines())
    pattern = rf'(def {function}(?:_engine1)?\(\) -> None:\n(?:    """.*"""\n)?)    pass\n'
    filled, number = re.subn(pattern, lambda found: found[1] + indented, text)
    assert number == 1, f"{function}() was not found"
    return filled
