"""The generated full-text column."""

from __future__ import annotations

# The configurations that PostgreSQL 14 and later have all built in (documentation, "Text Search Configurations").
LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian",
    "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip

# A tsvector holds 1 MB (PostgreSQL documentation, "Limitations"). The worst text found, hyphenated Cyrillic, makes
# 1.08 MB of 250,000 characters.
INDEXED_CHARACTERS = 200_000


def tsvector_expression() -> str:
    """Return the SQL of the generated column.

    A ``regconfig`` column would block ``pg_upgrade`` and ``language::regconfig`` is not immutable, so the languages
    are spelled out as constants; any other word is indexed without stemming. The casts are those PostgreSQL prints,
    so that Alembic finds no difference.
    """
    cases = " ".join(f"WHEN '{language}'::text THEN '{language}'::regconfig" for language in LANGUAGES)
    configuration = f"CASE language {cases} ELSE 'simple'::regconfig END"
    return f"to_tsvector({configuration}, left(content, {INDEXED_CHARACTERS}))"
