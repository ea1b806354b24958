"""What the documents hold: embeddings that cannot be compared, copies, texts and languages out of step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from pgcorpus.models import DIMENSIONS, SCHEMA
from pgcorpus.names import literal
from pgcorpus.services.doctor.contents_reading import can_read_contents, hash_of, read_all, read_keys, read_sample
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.leftovers import Leftovers, leftover_findings, read_leftovers
from pgcorpus.services.doctor.tallies import FAR_NORMS, CollectionContents

# No two embedders differ by less; a component that is zero by chance shortens a vector by one or two.
_GAP = 32

# Share of the embeddings that makes norms of two kinds two kinds, and no stragglers.
_KIND = 0.05

# A content that is there ten times fills the ten best answers; or a tenth of all documents, if they are that many.
_COPIES = 10
_SHARE_OF_COPIES = 0.1

# So large a share of documents in another language than the collection's is no mixture, but a mistake.
_OTHER_LANGUAGE = 0.9
_DOCUMENTS_OF_A_LANGUAGE = 10

_SHOWN = 3

_EMBED_AGAIN = "Then embed the content of what waits and upsert it by its key, or ingest its sources again."
_TABLE = f"{SCHEMA}.documents"


@dataclass(frozen=True, slots=True)
class Contents:
    """What was seen of the documents.

    Attributes:
        extension: The extension's schema, quoted.
        deep: Whether all documents were looked at.
        collections: What each collection holds.
        keys: Of collections with copies, by their ids: keys of documents that have the most frequent content.
    """

    extension: str
    deep: bool
    collections: tuple[CollectionContents, ...] = ()
    keys: dict[int, Sequence[str]] = field(default_factory=dict)


def contents_findings(connection: Connection, facts: Facts, *, deep: bool) -> list[Finding]:
    """Return what is wrong with what the documents hold, and what was left lying; nothing is written.

    Args:
        connection: In a transaction it reads in savepoints, and leaves it usable.
        facts: What :func:`~pgcorpus.services.doctor.reading.read_facts` read; what the role cannot read is left out.
        deep: Look at all documents, in pages, 25,000 a second; else at both ends of the ten newest collections.

    Raises:
        DBAPIError: The connection is lost, or the server refused.
    """
    if not can_read_contents(facts):
        return []
    read = read_all if deep else read_sample
    contents = Contents(schema_of_extension(facts), deep, tuple(read(connection, facts)))
    contents.keys.update(
        {each.id: read_keys(connection, each.id, each.examples) for each in contents.collections if _has_copies(each)}
    )
    return findings_of_contents(facts, contents, read_leftovers(connection, facts))


def findings_of_contents(facts: Facts, contents: Contents, leftovers: Leftovers) -> list[Finding]:
    """Return what is wrong, by what was read before."""
    checks = (_zero, _mixed, _norms, _stale, _waiting, _undeclared, _languages, _duplicates)
    found = [finding for check in checks for finding in check(contents)]
    return [*found, *leftover_findings(facts, leftovers)]


def _those(contents: Contents, is_ill: Callable[[CollectionContents], object]) -> list[CollectionContents]:
    return [each for each in contents.collections if is_ill(each)]


def _told(contents: Contents, collections: list[CollectionContents], count: Callable[[CollectionContents], str]) -> str:
    """Return the evidence: what was counted, of how many documents of which collection."""
    looked_at = "" if contents.deep else " looked at"
    shown = [
        f"{count(each)} of the {each.seen:,} documents{looked_at} of {each.name!r} (tenant {each.tenant!r})"
        for each in collections[:_SHOWN]
    ]
    more = len(collections) - _SHOWN
    return "; ".join(shown) + (f"; and {more} more collections." if more > 0 else ".")


# Embeddings


def _zero(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, lambda each: each.zero)):
        return []
    return [
        Finding(
            "embeddings-zero",
            Severity.WARNING,
            "Embeddings are zero vectors.",
            _told(contents, ill, lambda each: f"{each.zero:,}"),
            "By cosine their distance is NaN and no index has them: these documents are not found by meaning, and an"
            " exact search may return them last.",
            f"Forget these embeddings. {_EMBED_AGAIN}",
            sql=_update("embedding = NULL", ill, f"{contents.extension}.vector_norm(embedding) = 0"),
        )
    ]


class Kind(NamedTuple):
    """Embeddings of about one length, which an embedder's are.

    Attributes:
        length: Where the longest of them ends.
        embeddings: How many there are.
    """

    length: int
    embeddings: int


def kinds_of(collection: CollectionContents) -> list[Kind]:
    """Return the kinds of embeddings by the zeros that pad them, the shortest first."""
    kinds: list[Kind] = []
    for length, count in sorted(collection.lengths.items()):
        if kinds and length - kinds[-1].length < _GAP:
            kinds[-1] = Kind(length, kinds[-1].embeddings + count)
        else:
            kinds.append(Kind(length, count))
    return kinds


def _mixed(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, lambda each: len(kinds_of(each)) > 1)):
        return []
    forgetting = " ".join(_forgetting(contents.extension, each) for each in ill)
    # In words: which of them were paid for last, and are to stay, the database does not know.
    remedy = f"Switch the collection to one model. Or forget those that are fewer, and then embed again: {forgetting}"
    counting = "Have all documents looked at, which counts both."
    return [
        Finding(
            "embeddings-mixed",
            Severity.WARNING,
            "Collections have embeddings of more than one model.",
            _told(contents, ill, _kinds_told),
            "Embeddings of two models cannot be compared: documents of the one are found by chance.",
            remedy if contents.deep else counting,
            command=None if contents.deep else "pgcorpus doctor --deep",
        )
    ]


def _kinds_told(collection: CollectionContents) -> str:
    return " and ".join(f"{kind.embeddings:,} end at dimension {kind.length:,}" for kind in kinds_of(collection)) + ","


def _forgetting(extension: str, collection: CollectionContents) -> str:
    """Return the statement that keeps the kind that most embeddings are of."""
    kinds = kinds_of(collection)
    kept = max(kinds, key=lambda kind: kind.embeddings)
    shorter = [kind.length for kind in kinds if kind < kept]
    conditions = [f"{_rest(extension, max(shorter))} = 0"] if shorter else []
    if kinds[-1] != kept:
        conditions.append(f"{_rest(extension, kept.length)} > 0")
    return _update("embedding = NULL", [collection], f"({' OR '.join(conditions)})")


def _rest(extension: str, length: int) -> str:
    """Return the norm of what follows a length."""
    return f"{extension}.vector_norm({extension}.subvector(embedding, {length + 1}, {DIMENSIONS - length}))"


def _norms(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, _has_norms_of_two_kinds)):
        return []
    low, high = FAR_NORMS
    norm = f"{contents.extension}.vector_norm(embedding)"
    return [
        Finding(
            "embeddings-norms",
            Severity.NOTE,
            "Collections have embeddings of norm 1, and others far from it.",
            _told(contents, ill, lambda each: f"{each.unit_norms:,} have norm 1 and {each.other_norms:,} do not,"),
            "Either they are of two models, which cannot be compared; or of one, and were not all normalised: then"
            " cosine is right, and other distances are not.",
            "If they are of two models, and those of norm 1 are to stay, forget the others, and embed their content"
            f" again: {_update('embedding = NULL', ill, f'{norm} NOT BETWEEN {low} AND {high}')}",
        )
    ]


def _has_norms_of_two_kinds(collection: CollectionContents) -> bool:
    fewer = min(collection.unit_norms, collection.other_norms)
    return fewer >= max(3, _KIND * collection.embedded)


# Texts


def _stale(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, lambda each: each.stale)):
        return []
    right = hash_of("content")
    values = f"content_hash = {right}, embedding = NULL"
    return [
        Finding(
            "content-hash-stale",
            Severity.WARNING,
            "Contents were changed, and their hashes were not: by SQL of somebody's own.",
            _told(contents, ill, lambda each: f"{each.stale:,}"),
            "Their embeddings are most likely of the old text, and an ingest takes the old text for what is stored.",
            # In words: the embeddings may have been changed as well, and are then the right ones.
            "Correct the hashes and forget the embeddings, which are then to be made again; where those were changed"
            f" too, leave out `embedding = NULL`: {_update(values, ill, f'content_hash <> {right}')}",
        )
    ]


def _waiting(contents: Contents) -> list[Finding]:
    """The newest are looked at in any case; here all are."""
    ill = _those(contents, lambda each: contents.deep and each.model and each.waiting)
    if not ill:
        return []
    return [
        Finding(
            "documents-waiting",
            Severity.NOTE,
            "Documents wait for an embedding.",
            _told(contents, ill, lambda each: f"{each.waiting:,}"),
            "They are found by words and filters, not by meaning.",
            "Embed their content and upsert them by their keys, or ingest their sources again. They are those of"
            f" {_TABLE} WHERE embedding IS NULL AND collection_id IN ({_ids(ill)}).",
        )
    ]


def _undeclared(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, lambda each: each.model is None and each.embedded)):
        return []
    by_hand = _update_collections("embedding_model = 'NAME'", ill)
    return [
        Finding(
            "model-undeclared",
            Severity.NOTE,
            "Collections have embeddings, and name no embedding model.",
            _told(contents, ill, lambda each: f"{each.embedded:,} embeddings"),
            "Nothing keeps vectors of another model out, of documents or of queries.",
            "Give the repository that writes there its `embedding_model`: ensure_collection(), and the next write, keep"
            f" the name. Or do it by hand: {by_hand}",
        )
    ]


def _languages(contents: Contents) -> list[Finding]:
    if not (ill := _those(contents, _other_language)):
        return []
    return [
        Finding(
            "language-other",
            Severity.WARNING,
            "Collections are searched in another language than their documents are in.",
            _told(contents, ill, _languages_told),
            "A search by words looks for the stems of one language among those of another, and misses documents.",
            "Give the collections the language of their documents.",
            sql=" ".join(_update_collections(f"language = {literal(_other_language(each))}", [each]) for each in ill),
        )
    ]


def _languages_told(collection: CollectionContents) -> str:
    other = _other_language(collection)
    return f"{collection.languages[other]:,} are in {other}, and searched in {collection.language}:"


def _other_language(collection: CollectionContents) -> str:
    """Return the language that nearly all documents have, unless it is the collection's; else an empty one."""
    if collection.seen < _DOCUMENTS_OF_A_LANGUAGE:
        return ""
    language, count = max(collection.languages.items(), key=lambda item: item[1])
    return language if language != collection.language and count >= _OTHER_LANGUAGE * collection.seen else ""


def _duplicates(contents: Contents) -> list[Finding]:
    return [_duplicate(contents, each) for each in _those(contents, _has_copies)[:_SHOWN]]


def _duplicate(contents: Contents, collection: CollectionContents) -> Finding:
    keys = ", ".join(map(repr, contents.keys.get(collection.id, ())))
    share = collection.copies / collection.seen
    return Finding(
        "documents-duplicate",
        Severity.NOTE,
        f"Documents of {collection.name!r} have the same content.",
        _told(contents, [collection], lambda each: f"{each.copies:,} copies ({share:.0%})")
        + f" One content is there {collection.most:,} times: {keys} and others have it.",
        "Copies take the places of other answers: ten of them are a whole page of results.",
        "Where the oldest of each is enough, delete the others (and their sources, or the next ingest brings them"
        f" back): {_delete_copies(collection)}",
    )


def _has_copies(collection: CollectionContents) -> bool:
    share = collection.copies / max(collection.seen, 1)
    return collection.most >= _COPIES or (collection.copies >= _COPIES and share >= _SHARE_OF_COPIES)


# What mends it


def _ids(collections: Iterable[CollectionContents]) -> str:
    return ", ".join(str(each.id) for each in collections)


def _update(values: str, collections: Iterable[CollectionContents], condition: str) -> str:
    """Whoever changes a document tells so by its version: a switch of models and ORM objects go by it."""
    return (
        f"UPDATE {_TABLE} SET {values}, version = version + 1, updated_at = now()"  # noqa: S608
        f" WHERE collection_id IN ({_ids(collections)}) AND {condition};"
    )


def _update_collections(values: str, collections: Iterable[CollectionContents]) -> str:
    return f"UPDATE {SCHEMA}.collections SET {values} WHERE id IN ({_ids(collections)});"  # noqa: S608


def _delete_copies(collection: CollectionContents) -> str:
    own = f"collection_id = {collection.id}"
    numbered = (
        "SELECT id, row_number() OVER (PARTITION BY content_hash ORDER BY id) AS copy"  # noqa: S608
        f" FROM {_TABLE} WHERE {own} AND content_hash IS NOT NULL"
    )
    return f"DELETE FROM {_TABLE} WHERE {own} AND id IN (SELECT id FROM ({numbered}) AS numbered WHERE copy > 1);"  # noqa: S608
