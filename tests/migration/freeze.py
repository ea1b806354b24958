"""Freeze the released revisions: ``python -m tests.migration.freeze``, once a new one is written.

It adds the hash of each new revision to ``frozen.txt``, and to ``dumps/`` a dump of a database that is at it, with data
in it. What is there already it leaves as it is: a released revision never changes, and neither does its dump.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL

from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer

HERE = Path(__file__).parent
VERSIONS = HERE.parents[1] / "alembic" / "versions"
FROZEN = HERE / "frozen.txt"
DUMPS = HERE / "dumps"

COMMAND = "python -m tests.migration.freeze"
RULE = (
    "a released revision never changes: take the change back and write a new one"
    " (one that is not released yet: delete its line of frozen.txt and its dump, and freeze again)"
)

# What differs from one run or server to the next, or what an older server does not know.
VOLATILE = re.compile(r"^(\\(un)?restrict .*|SET transaction_timeout = 0;)\n", re.MULTILINE)


# The hashes


def hashes() -> dict[str, str]:
    """Return the SHA-256 of every revision as it is, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(VERSIONS.glob("*.py"))}


def frozen() -> dict[str, str]:
    """Return the SHA-256 of every revision as it was released, by file name."""
    lines = FROZEN.read_text().splitlines() if FROZEN.exists() else []
    return {name: digest for digest, name in (line.split() for line in lines)}


def changed() -> list[str]:
    """Return the released revisions that are no longer what they were, or gone."""
    now = hashes()
    return [name for name, digest in frozen().items() if now.get(name) != digest]


def freeze_hashes() -> None:
    """List the new revisions.

    Raises:
        SystemExit: A released one has changed.
    """
    if changed():
        sys.exit(f"{', '.join(changed())}: {RULE}")
    FROZEN.write_text("".join(f"{digest}  {name}\n" for name, digest in hashes().items()))


# The dumps

MOMENT = "2026-01-02 03:04:05+00"

COLLECTIONS: list[dict[str, Any]] = [
    {
        "tenant": "default",
        "name": "library",
        "model": "text-embedding-3-small",
        "distance": "cosine",
        "lang": "english",
    },
    {"tenant": "Überland", "name": "Bücherei 📚", "model": None, "distance": "l2", "lang": "german"},
]

# The language and the text; the last is not one that PostgreSQL can stem.
SENTENCES = [
    ("english", "The ferries leave the harbour at dawn."),
    ("german", "Die Fähren verlassen den Hafen im Morgengrauen."),
    ("greek", "Το πλοίο φεύγει από το λιμάνι την αυγή."),  # noqa: RUF001 -- Greek
    ("klingon", "日本語 🚢 a\\b\t'quoted'\nsecond line"),
]

# Few, since a vector is 3 KB of text: the number of a document, and the axis along which its vector points.
AXES = {0: 0, 1: 1, 20: 2}


def document(number: int) -> dict[str, Any]:
    """Return a row of the table of documents, the same on every run."""
    language, sentence = SENTENCES[number % len(SENTENCES)]
    content = f"{sentence} ({number})"
    return {
        "collection_id": 1 if number < 16 else 2,
        "key": f"schlüssel-{number}",
        "content": content,
        "content_hash": hashlib.sha256(content.encode()).digest(),
        "source": None if number % 5 == 0 else f"docs/{number // 4}.md",
        "position": None if number % 5 == 0 else 1024 * number,
        "metadata": {"number": number, "tags": ["ä", '"'], "deep": {"empty": None}} if number % 3 else {},
        "embedding": unit_vector(AXES[number]) if number in AXES else None,
        "language": language,
        "version": 1 + number % 2,
    }


def unit_vector(axis: int) -> list[int]:
    """Return the vector along one axis."""
    return [int(position == axis) for position in range(1536)]


DOCUMENTS = [document(number) for number in range(24)]


def in_sql(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its metadata and its vector as text."""
    return row | {name: json.dumps(value) for name, value in row.items() if isinstance(value, dict | list)}


# What is stored once a database has come to a revision, in SQL: the models are those of today. A revision that adds a
# column or a table adds its data here, and so only to its own dump and later ones.
SEEDS: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {
    "pgcorpus_0002": [
        (
            "INSERT INTO pgcorpus.collections (tenant_id, name, embedding_model, distance, language, created_at)"
            f" VALUES (:tenant, :name, :model, :distance, :lang, '{MOMENT}')",
            COLLECTIONS,
        ),
        (
            "INSERT INTO pgcorpus.documents (collection_id, key, content, content_hash, source, position, metadata,"
            " embedding, language, version, created_at, updated_at)"
            " VALUES (:collection_id, :key, :content, :content_hash, :source, :position, CAST(:metadata AS jsonb),"
            f" CAST(CAST(:embedding AS text) AS vector), :language, :version, '{MOMENT}', '{MOMENT}')",
            [in_sql(row) for row in DOCUMENTS],
        ),
    ],
    "pgcorpus_0005": [
        (
            "INSERT INTO pgcorpus.embedding_cache (model, content_hash, embedding, created_at)"
            f" VALUES (:model, :content_hash, :embedding, '{MOMENT}')",
            [{"model": "tiny-2", "content_hash": bytes(range(32)), "embedding": b"\0\0\x80\x3f\0\0\0\0"}],
        ),
        (
            "INSERT INTO pgcorpus.collections (tenant_id, name, shadow_of, retired_at, retired_at_id, created_at)"
            f" VALUES ('default', 'library@tiny-2', 1, '{MOMENT}', 24, '{MOMENT}')",
            [],
        ),
    ],
    "pgcorpus_0006": [
        (
            "INSERT INTO pgcorpus.calibrations (collection_id, index_definition, documents, k, measured_at, points)"
            f" VALUES (1, :index_definition, :documents, :k, '{MOMENT}', CAST(:points AS jsonb))",
            [
                {
                    "index_definition": "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw"
                    " (embedding vector_cosine_ops) WITH (m='16', ef_construction='64')",
                    "documents": 16,
                    "k": 10,
                    "points": json.dumps(
                        [{"ef_search": 40, "recall": 0.85, "p50_ms": 1.5, "p95_ms": 3.25, "scanned": 420.5}]
                    ),
                }
            ],
        ),
    ],
}


def seed(engine: Engine, revision: str) -> None:
    """Store what a database has from this revision on."""
    with engine.begin() as connection:
        for statement, rows in SEEDS.get(revision, []):
            connection.execute(text(statement), rows or None)


def dump(server: EmbeddedServer, url: URL) -> str:
    """Return a database as SQL for psql, the same for equal databases."""
    program = [str(server.binary("pg_dump")), "--no-owner", "--no-privileges", *server.psql_command()[1:]]
    return VOLATILE.sub("", _output([*program, "-d", str(url.database)]))


def restore(server: EmbeddedServer, url: URL, script: str) -> None:
    """Run SQL in a database by psql, up to the first error."""
    options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", str(url.database)]
    _output([*server.psql_command(), *options], script)


def _output(command: list[str], stdin: str = "") -> str:
    environment = {"PGCLIENTENCODING": "UTF8", "PGOPTIONS": "-c timezone=UTC", "LC_ALL": "C"}
    process = subprocess.run(command, input=stdin.encode(), capture_output=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout.decode()


def dumps(server: EmbeddedServer, engine: Engine) -> Iterator[tuple[str, str]]:
    """Walk an empty database up the history, and yield each revision with the database's dump."""
    for revision in schema.history():
        schema.upgrade(engine, revision.id)
        seed(engine, revision.id)
        yield revision.id, dump(server, engine.url)


def freeze_dumps(server: EmbeddedServer, engine: Engine) -> None:
    """Store the dumps of the revisions that have none."""
    DUMPS.mkdir(exist_ok=True)
    for revision, script in dumps(server, engine):
        path = DUMPS / f"{revision}.sql"
        if not path.exists():
            path.write_text(script)
            print(f"new: {path.relative_to(HERE.parents[1])}")


def main() -> None:
    """Freeze the hashes and the dumps.

    Raises:
        SystemExit: A released revision has changed, or a new one is not installed yet.
    """
    if len(hashes()) != len(schema.history()):
        sys.exit("the package is not installed with all revisions: run `make install`")
    freeze_hashes()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # as root, the server runs under another account
        with EmbeddedServer(Path(folder) / "server", {"fsync": "off"}) as server:
            engine = create_engine(server.url, poolclass=NullPool)
            freeze_dumps(server, engine)


if __name__ == "__main__":
    main()
