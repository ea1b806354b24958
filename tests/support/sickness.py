"""Making a database sick, and mending it by nothing but what a finding prints."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, text

from pgcorpus.cli.main import run_command
from pgcorpus.database import autocommit
from pgcorpus.services.doctor import Finding, Severity, examine


def run(engine: Engine, *statements: str) -> None:
    """Execute statements, each in a transaction of its own."""
    with autocommit(engine).connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def found(engine: Engine, code: str, severity: Severity) -> Finding:
    """Return the one finding of a database."""
    (finding,) = examine(engine)
    assert (finding.code, finding.severity) == (code, severity)
    return finding


def by_sql(engine: Engine, finding: Finding) -> None:
    """Execute the SQL of a finding, as psql does: a statement after the other."""
    assert finding.sql
    run(engine, *(f"{statement};" for statement in finding.sql.rstrip(";").split("; ")))


def by_command(engine: Engine, finding: Finding) -> None:
    """Run the command of a finding, with its database named."""
    assert finding.command
    program, *arguments = finding.command.split()
    assert program == "pgcorpus"
    assert run_command([*arguments, "--database-url", engine.url.render_as_string(hide_password=False)]) == 0


Mend = Callable[[Engine, Finding], None]


def scalar(engine: Engine, statement: str) -> object:
    """Return a statement's one value."""
    with engine.connect() as connection:
        answer: object = connection.scalar(text(statement))
        return answer
