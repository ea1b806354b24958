"""Making a database sick, and mending it by nothing but what a finding prints."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, NullPool, text

from pgcorpus.cli.main import run_command
from pgcorpus.database import autocommit, create_engine
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


def only(engine: Engine, code: str, severity: Severity) -> Finding:
    """Return the one finding of a code, among others that the same sickness may have."""
    (finding,) = [each for each in examine(engine) if each.code == code]
    assert finding.severity == severity
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


def impatient(engine: Engine) -> Engine:
    """Return an engine that is refused what it would have to wait for."""
    return create_engine(engine.url, connect_args={"options": "-c lock_timeout=2s"}, poolclass=NullPool)


def sql_in(finding: Finding, verb: str) -> str:
    """Return the statement in a remedy's words: one that would lose something, which no script may run unread."""
    assert finding.sql is None, "a script runs what stands there"
    return verb + finding.remedy.partition(verb)[2]


Mend = Callable[[Engine, Finding], None]


def scalar(engine: Engine, statement: str) -> object:
    """Return a statement's one value."""
    with engine.connect() as connection:
        answer: object = connection.scalar(text(statement))
        return answer


def fill_by_sql(engine: Engine, documents: int, collection: str = "large") -> None:
    """Store documents with embeddings of a few kinds, a hundred and one of them, in a collection of their own."""
    run(
        engine,
        f"INSERT INTO pgcorpus.collections (name, embedding_model) VALUES ('{collection}', 'm')",
        f"""
        INSERT INTO pgcorpus.documents (collection_id, content, embedding)
        SELECT c.id, 'text ' || n, (array_fill(0.01::real, ARRAY[n % 101]) || 1.0::real
               || array_fill(0.02::real, ARRAY[1535 - n % 101]))::vector
        FROM pgcorpus.collections c, generate_series(1, {documents}) AS n WHERE c.name = '{collection}'
        """,
    )
