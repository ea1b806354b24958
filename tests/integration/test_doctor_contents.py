"""What documents can hold that they should not: planted, found in a sample and in all, cured by what is printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from pgcorpus.cli.main import run_command
from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.locks import advisory_lock
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.doctor import Finding, Severity
from pgcorpus.services.doctor.contents import contents_findings
from pgcorpus.services.doctor.contents_reading import END, PAGE
from pgcorpus.services.doctor.reading import read_facts
from pgcorpus.services.embedding import pad
from pgcorpus.services.switching import ModelSwitch
from pgcorpus.services.switching.places import switch_lock
from tests.support.sickness import by_sql, run, scalar, sql_in
from tests.support.switching import make_wiki, new_embedder, old_embedder
from tests.support.vectors import random_vectors

CONTENTS = "SELECT json_agg(d ORDER BY id)::text FROM pgcorpus.documents d"


def look(engine: Engine, *, deep: bool = True) -> list[Finding]:
    with autocommit(engine).connect() as connection:
        return contents_findings(connection, read_facts(connection), deep=deep)


def the_one(engine: Engine, code: str, severity: Severity, *, deep: bool = True) -> Finding:
    (finding,) = look(engine, deep=deep)
    assert (finding.code, finding.severity) == (code, severity)
    return finding


def by_words(engine: Engine, finding: Finding) -> None:
    assert finding.command
    program, *arguments = shlex.split(finding.command)
    assert program == "pgcorpus"
    assert run_command([*arguments, "--database-url", engine.url.render_as_string(hide_password=False)]) == 0


def normalised(count: int, dimensions: int = 1536, seed: int = 0) -> Any:
    rows = random_vectors(count, dimensions, seed)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def store(
    engine: Engine, embeddings: Sequence[Any], name: str = "wiki", model: str | None = "m", **options: Any
) -> None:
    """Store a document for each embedding, after those that are there."""
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, name, embedding_model=model)
        first = int(session.scalar(text("SELECT coalesce(max(id), 0) FROM pgcorpus.documents")) or 0)
        repository.add_many(
            [Document(key=f"k{n}", content=f"text {n}", embedding=row) for n, row in enumerate(embeddings, start=first)]
        )


def embed_what_waits(engine: Engine, dimensions: int = 1536) -> None:
    """Embed and upsert documents without an embedding, as the remedies ask for."""
    with session_factory(engine).begin() as session:
        waiting = "SELECT key, content FROM pgcorpus.documents WHERE embedding IS NULL ORDER BY id"
        rows = session.execute(text(waiting)).all()
        vectors = pad(normalised(len(rows), dimensions, seed=9))
        repository = DocumentRepository(session, "wiki", embedding_model="m")
        repository.upsert([Draft(row.key, row.content, embedding=v) for row, v in zip(rows, vectors, strict=True)])


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


# Health


@pytest.mark.parametrize("deep", [False, True])
def test_of_sound_documents_nothing_is_said(engine: Engine, deep: bool) -> None:
    assert look(engine, deep=deep) == []
    store(engine, pad(normalised(30, 256)))
    store(engine, random_vectors(30, seed=1), "raw")
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "words").add(Document(content="no model, no embedding"))
    assert look(engine, deep=deep) == []


def test_vectors_of_few_words_are_of_no_other_kind_than_those_of_many(engine: Engine) -> None:
    """Sparse vectors end anywhere; a dense one that ends in a zero by chance ends a little earlier."""
    rows = np.zeros((40, 1536), np.float32)
    for number, row in enumerate(rows[:20]):
        row[: number + 1 : 2] = 1
    rows[20:] = pad(normalised(20, 256))
    rows[30, 250:] = 0
    store(engine, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert look(engine) == []


# Embeddings


@pytest.mark.parametrize("deep", [False, True])
def test_zero_vectors(engine: Engine, deep: bool) -> None:
    store(engine, normalised(5))
    run(engine, "UPDATE pgcorpus.documents SET embedding = embedding - embedding WHERE id = 2")
    finding = the_one(engine, "embeddings-zero", Severity.WARNING, deep=deep)
    looked_at = "" if deep else " looked at"
    assert finding.evidence == f"1 of the 5 documents{looked_at} of 'wiki' (tenant 'default')."
    by_sql(engine, finding)
    assert codes(look(engine)) == ["documents-waiting"]
    embed_what_waits(engine)
    assert look(engine) == []


def test_an_extension_off_the_search_path_is_named_in_the_sql(engine: Engine) -> None:
    store(engine, normalised(3))
    run(engine, "UPDATE pgcorpus.documents SET embedding = embedding - embedding WHERE id = 2")
    run(engine, 'CREATE SCHEMA "of vectors"', 'ALTER EXTENSION vector SET SCHEMA "of vectors"')
    fresh = create_engine(engine.url)
    by_sql(fresh, the_one(fresh, "embeddings-zero", Severity.WARNING))
    assert codes(look(fresh)) == ["documents-waiting"]
    fresh.dispose()


@pytest.mark.parametrize(("right", "wrong"), [(256, 1536), (1536, 256), (768, 384)])
def test_embeddings_of_two_lengths_are_of_two_models(engine: Engine, right: int, wrong: int) -> None:
    store(engine, pad(normalised(30, right)))
    store(engine, pad(normalised(3, wrong, seed=1)))
    sampled = the_one(engine, "embeddings-mixed", Severity.WARNING, deep=False)
    assert sampled.command == "pgcorpus doctor --deep"
    assert sampled.sql is None, "of a sample nobody knows which are fewer"
    finding = the_one(engine, "embeddings-mixed", Severity.WARNING)
    assert f"3 end at dimension {wrong:,}" in finding.evidence
    run(engine, sql_in(finding, "UPDATE"))
    assert scalar(engine, "SELECT count(*) FROM pgcorpus.documents WHERE embedding IS NULL AND id > 30") == 3
    embed_what_waits(engine, right)
    assert look(engine) == []


def test_of_three_lengths_the_one_that_most_have_stays(engine: Engine) -> None:
    for count, dimensions in ((2, 256), (9, 768), (2, 1024), (2, 1536)):
        store(engine, pad(normalised(count, dimensions)))
    run(engine, sql_in(the_one(engine, "embeddings-mixed", Severity.WARNING), "UPDATE"))
    assert scalar(engine, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM pgcorpus.documents"
                  " WHERE embedding IS NOT NULL") == "3 4 5 6 7 8 9 10 11"  # fmt: skip


def test_the_sample_has_the_oldest_and_the_newest_documents(engine: Engine) -> None:
    store(engine, pad(normalised(1, 256)))
    store(engine, normalised(3 * END))
    assert "1 end at dimension 256" in the_one(engine, "embeddings-mixed", Severity.WARNING, deep=False).evidence
    run(engine, "DELETE FROM pgcorpus.documents WHERE id = 1")
    store(engine, pad(normalised(1, 256)))
    assert "1 end at dimension 256" in the_one(engine, "embeddings-mixed", Severity.WARNING, deep=False).evidence
    store(engine, normalised(END, seed=2))
    assert look(engine, deep=False) == []


def test_norms_of_two_kinds(engine: Engine) -> None:
    store(engine, normalised(20))
    store(engine, random_vectors(2))
    assert look(engine) == [], "two are stragglers"
    store(engine, random_vectors(1))
    finding = the_one(engine, "embeddings-norms", Severity.NOTE)
    assert "20 have norm 1 and 3 do not" in finding.evidence
    run(engine, sql_in(finding, "UPDATE "))
    embed_what_waits(engine)
    assert look(engine) == []


def test_a_collection_that_names_no_model(engine: Engine) -> None:
    store(engine, normalised(3), model=None)
    finding = the_one(engine, "model-undeclared", Severity.NOTE)
    assert look(engine, deep=False)[0].summary == finding.summary
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki", embedding_model="m").ensure_collection()
    assert look(engine) == []
    store(engine, normalised(3), "by hand", model=None)
    run(engine, sql_in(the_one(engine, "model-undeclared", Severity.NOTE), "UPDATE ").replace("NAME", "m"))
    assert look(engine) == []


def test_in_pages_all_documents_are_looked_at(engine: Engine) -> None:
    """The newest have an embedding, and of the others two wait."""
    store(engine, normalised(1))
    run(engine, "DROP INDEX pgcorpus.ix_documents_embedding")
    copies = (
        "INSERT INTO pgcorpus.documents (collection_id, id, content, embedding)"
        f" SELECT collection_id, -n, 'x' || n, embedding FROM pgcorpus.documents, generate_series(1, {2 * PAGE}) n"
    )
    run(engine, copies, "UPDATE pgcorpus.documents SET embedding = NULL WHERE id IN (-1, -300)")
    finding = the_one(engine, "documents-waiting", Severity.NOTE)
    assert finding.evidence == f"2 of the {2 * PAGE + 1:,} documents of 'wiki' (tenant 'default')."
    embed_what_waits(engine)
    assert look(engine) == []


# Texts


def test_contents_that_were_changed_by_hand(engine: Engine) -> None:
    store(engine, normalised(3))
    run(engine, "UPDATE pgcorpus.documents SET content = 'other' WHERE id = 2")
    assert look(engine, deep=False) == []
    run(engine, sql_in(the_one(engine, "content-hash-stale", Severity.WARNING), "UPDATE"))
    assert codes(look(engine)) == ["documents-waiting"]
    embed_what_waits(engine)
    assert look(engine) == []
    assert scalar(engine, "SELECT version FROM pgcorpus.documents WHERE id = 2") == 3, "told to who looks at versions"


def test_a_collection_that_is_searched_in_another_language(engine: Engine) -> None:
    store(engine, normalised(12))
    run(engine, "UPDATE pgcorpus.documents SET language = 'german' WHERE id <= 10")
    assert look(engine) == [], "a mixture is nobody's mistake"
    run(engine, "UPDATE pgcorpus.documents SET language = 'german', content = 'Häuser', content_hash = NULL")
    for deep in (False, True):
        finding = the_one(engine, "language-other", Severity.WARNING, deep=deep) if not deep else look(engine)[0]
        assert "12 are in german, and searched in english: of the 12 documents" in finding.evidence
    by_sql(engine, finding)
    assert "language-other" not in codes(look(engine))
    with session_factory(engine)() as session:
        assert DocumentRepository(session, "wiki", embedding_model="m").search_text("Haus", 3)


@pytest.mark.parametrize("deep", [False, True])
def test_a_content_that_is_there_ten_times(engine: Engine, deep: bool) -> None:
    store(engine, normalised(19))
    drafts = [Draft(f"copy {n}", "the same", embedding=row) for n, row in enumerate(normalised(10, seed=2))]
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki", embedding_model="m").upsert(drafts[:9])
    assert look(engine, deep=deep) == []
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki", embedding_model="m").upsert(drafts)
    finding = the_one(engine, "documents-duplicate", Severity.NOTE, deep=deep)
    assert "9 copies (31%)" in finding.evidence
    assert "10 times: 'copy 0', 'copy 1', 'copy 2' and others" in finding.evidence
    run(engine, sql_in(finding, "DELETE "))
    assert look(engine, deep=deep) == []
    assert scalar(engine, "SELECT count(*) FROM pgcorpus.documents WHERE content = 'the same'") == 1


# What was left lying


def test_a_copy_of_a_switch_that_was_given_up(engine: Engine) -> None:
    make_wiki(engine)
    ModelSwitch(engine, new_embedder(), "wiki").run(flip=False, old_embedder=old_embedder())
    assert look(engine) == [], "it may go on yet"
    run(engine, "UPDATE pgcorpus.collections SET created_at = now() - interval '3 days' WHERE shadow_of IS NOT NULL")
    finding = the_one(engine, "copy-abandoned", Severity.NOTE)
    assert finding.evidence.startswith("'wiki@new' (tenant 'default') was begun 3 days ago")
    with advisory_lock(engine, switch_lock("default", "wiki"), 1):
        assert look(engine) == [], "somebody is at it"
    by_words(engine, finding)
    assert look(engine) == []


@pytest.mark.parametrize(("number", "age"), [("retired_at_id", "8 days"), ("-1", "2 days")])
def test_a_retired_collection_that_nobody_wants_back(engine: Engine, number: str, age: str) -> None:
    make_wiki(engine)
    run(engine, "UPDATE pgcorpus.collections SET name = 'the wiki', tenant_id = 'o''neill'")
    ModelSwitch(engine, new_embedder(), "the wiki", "o'neill").run(old_embedder=old_embedder())
    assert look(engine) == []
    run(
        engine,
        f"UPDATE pgcorpus.collections SET retired_at = now() - interval '{age}', retired_at_id = {number}"
        " WHERE shadow_of IS NOT NULL",
    )
    by_words(engine, the_one(engine, "copy-retired", Severity.NOTE))
    assert look(engine) == []


CACHED = (
    "INSERT INTO pgcorpus.embedding_cache (model, content_hash, embedding)"
    " SELECT 'm', sha256(convert_to(n::text, 'UTF8')), '\\x00000000' FROM generate_series(1, {}) n"
)
TOLD = "SELECT pg_stat_force_next_flush()"


def test_a_cache_that_is_larger_than_what_it_is_for(engine: Engine) -> None:
    run(engine, CACHED.format(9_999), TOLD)
    assert look(engine, deep=False) == []
    run(engine, CACHED.format(10_000) + " ON CONFLICT DO NOTHING", TOLD)
    finding = the_one(engine, "cache-large", Severity.NOTE, deep=False)
    assert "about 10,000 entries" in finding.evidence
    by_words(engine, finding)
    run(engine, TOLD)
    assert look(engine, deep=False) == []


def test_a_cache_that_documents_of_a_hosts_class_may_use_is_left_alone(engine: Engine) -> None:
    run(engine, CACHED.format(10_000), TOLD, "CREATE TABLE articles (c bigint REFERENCES pgcorpus.collections (id))")
    assert look(engine, deep=False) == []


# From wherever it is asked


@pytest.mark.parametrize("deep", [False, True])
def test_it_reads_and_leaves_a_transaction_usable(engine: Engine, deep: bool) -> None:
    store(engine, normalised(3))
    run(engine, "UPDATE pgcorpus.documents SET embedding = embedding - embedding WHERE id = 2")
    before = scalar(engine, CONTENTS)
    reader = create_engine(engine.url, connect_args={"options": "-c default_transaction_read_only=on"})
    with reader.connect() as connection:
        facts = read_facts(connection)
        assert codes(contents_findings(connection, facts, deep=deep)) == ["embeddings-zero"]
        assert not connection.in_transaction()
        with connection.begin():
            assert codes(contents_findings(connection, facts, deep=deep)) == ["embeddings-zero"]
            assert connection.scalar(text(CONTENTS)) == before
    reader.dispose()


def test_what_a_role_may_not_read_is_left_out(engine: Engine) -> None:
    store(engine, normalised(3))
    run(engine, "UPDATE pgcorpus.documents SET embedding = embedding - embedding WHERE id = 2")
    role = f"reader_of_{engine.url.database}"
    run(engine, f"CREATE ROLE {role}")
    reader = create_engine(engine.url, connect_args={"options": f"-c role={role}"})
    assert look(reader) == []
    tables = "pgcorpus.collections, pgcorpus.documents"
    run(engine, f"GRANT USAGE ON SCHEMA pgcorpus TO {role}", f"GRANT SELECT ON {tables} TO {role}")
    assert codes(look(reader)) == ["embeddings-zero"]
    reader.dispose()
    run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_sample_costs_the_same_however_many_documents_there_are(engine: Engine) -> None:
    """Without statistics the planner would read all of a collection to find its ends."""
    store(engine, normalised(1))
    run(
        engine,
        "ALTER TABLE pgcorpus.documents SET (autovacuum_enabled = off)",
        "INSERT INTO pgcorpus.documents (collection_id, content) SELECT 1, 'x' FROM generate_series(1, 5000)",
    )
    with engine.begin() as connection:
        facts = read_facts(connection)
        read = "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname = 'documents'"
        before = connection.scalar(text(read))
        contents_findings(connection, facts, deep=False)
        assert connection.scalar(text(read)) - before <= 5 * END
