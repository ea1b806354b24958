"""``pgcorpus doctor``: what is wrong with the database, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import click
from rich.text import Text

from pgcorpus import schema
from pgcorpus.cli import options
from pgcorpus.cli.host import current_host
from pgcorpus.cli.output import print_json, printable, results
from pgcorpus.services.doctor import Finding, Severity, examine, worst

EXIT_CODES = {None: 0, Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 3}

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold blue"}
_LABEL = 14

_HEAD = "-- Read it first. Run it outside of a transaction: psql -v ON_ERROR_STOP=1 -f, not with -1."
# A timeout that a role or the database begins sessions with may be what is to be mended.
_PATIENT = "SET statement_timeout = 0; SET lock_timeout = 0;"


@click.command()
@options.as_json
@click.option("--fix-sql", is_flag=True, help="Print the SQL of the remedies as a script for psql, and nothing else.")
@click.option("--deep", is_flag=True, help="Read all documents, rather than some.")
@options.database_url
@click.pass_context
def doctor(context: click.Context, as_json: bool, fix_sql: bool, deep: bool, database_url: str | None) -> None:
    """Look what is wrong with the database, and say what mends it; nothing is changed.

    Exit codes: 0 nothing but notes, 1 warnings (slow, or at risk), 3 errors (something fails).
    """
    if as_json and fix_sql:
        raise click.UsageError("--json has the SQL too: choose one of --json and --fix-sql")
    with options.database(database_url) as engine:
        findings = [_worded(finding) for finding in examine(engine, deep=deep)]
    if as_json:
        print_json({"worst": worst(findings), "findings": [_with_sql(finding) for finding in findings]})
    elif fix_sql:
        click.echo(script(findings))
    else:
        _print(findings)
    context.exit(EXIT_CODES[worst(findings)])


def script(findings: Sequence[Finding]) -> str:
    """Return the SQL of all remedies, for psql; what is no SQL, or would lose something, is a comment."""
    head = [_HEAD, _PATIENT] if any(map(sql_of, findings)) else [_HEAD]
    return "\n".join([*head, *map(_section, findings)])


def _section(finding: Finding) -> str:
    sql = sql_of(finding)
    title = f"\n-- {finding.code}: {_one_line(finding.summary)}\n"
    if sql is None:
        return f"{title}-- Nothing is run. {_one_line(finding.instructions)}"
    return f"{title}-- {_one_line(finding.remedy)}\n{sql}"


def _one_line(words: str) -> str:
    """A name with a line break in it must not end a comment."""
    return " ".join(printable(words).split())


def sql_of(finding: Finding) -> str | None:
    """Return the SQL that mends it, of a migration too."""
    if finding.revisions is not None:
        return schema.sql(finding.revisions)
    return finding.sql


def _with_sql(finding: Finding) -> dict[str, str | None]:
    return asdict(replace(finding, sql=sql_of(finding)))


def _worded(finding: Finding) -> Finding:
    """Return a finding whose command is called as the app that runs this calls it."""
    host = current_host()
    if host is None or not finding.command:
        return finding
    return replace(finding, command=finding.command.replace("pgcorpus ", f"{host.command} ", 1))


def _print(findings: Sequence[Finding]) -> None:
    if not findings:
        results().print("nothing to mend")
    for finding in findings:
        title = Text.assemble((finding.severity, _STYLES[finding.severity]), f"  {finding.code}  ")
        results().print(title.append(printable(finding.summary), "bold"))
        for label, line in _lines(finding):
            results().print(Text.assemble((f"  {label}".ljust(_LABEL), "dim"), printable(line)))


def _lines(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "seen", finding.evidence
    yield "consequence", finding.consequence
    yield "remedy", finding.remedy
    if finding.command:
        yield "", f"$ {finding.command}"
    if finding.sql:
        yield "", finding.sql
