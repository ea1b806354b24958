"""Every error this package raises on purpose.

::

    PgCorpusError
    ├── ConfigError                a setting is missing or wrong
    │   └── MissingExtraError      an optional install is needed
    ├── DefinitionError            a model or index is declared with impossible parameters
    ├── DatabaseError              the server refused or cannot be reached
    │   ├── UnreachableError       no connection
    │   ├── ExtensionError         pgvector is missing, too old or may not be created
    │   ├── SchemaError            the schema is not at the revision this code needs
    │   └── MigrationLockError     another migration holds the lock
    ├── EmbeddedServerError        the private PostgreSQL cannot be prepared, started or stopped
    ├── CollectionError            a collection cannot be used as asked
    │   ├── CollectionNotFoundError
    │   ├── EmbeddingModelMismatchError
    │   └── SwitchError            its model cannot be switched as asked
    ├── SearchError                a search is asked for the impossible
    │   └── SearchTimeoutError     it took longer than its timeout
    ├── FilterError                a filter names an unknown field or operator, or a wrong type
    ├── DocumentError              a document cannot be stored
    │   └── VectorError            a vector cannot be stored or searched with
    ├── SourceError                a file or stream cannot be read as documents
    ├── EmbeddingError             an embedder failed or answered nonsense
    │   └── TextTooLongError       one text has more tokens than the model takes
    └── AnswerError                a chat model failed or answered nonsense

The first line of a docstring is the default message.
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin


class PgCorpusError(Exception):
    """Something pgcorpus was asked to do cannot be done."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class ConfigError(PgCorpusError):
    """A setting is missing or wrong."""


class MissingExtraError(ConfigError):
    """An optional part of pgcorpus is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        super().__init__(f"{needed_for} needs an optional install: pip install 'pgcorpus[{extra}]'")


class DefinitionError(PgCorpusError, ValueError):
    """A model or index is declared with parameters that PostgreSQL or pgvector cannot take."""


class DatabaseError(PgCorpusError):
    """The database refused a request."""


class UnreachableError(DatabaseError):
    """The database cannot be reached."""


class ExtensionError(DatabaseError):
    """The pgvector extension is missing, too old, or may not be created by this role."""


class SchemaError(DatabaseError):
    """The schema is not at the revision that this code needs."""


class MigrationLockError(DatabaseError):
    """Another migration is running on this database."""


class EmbeddedServerError(PgCorpusError):
    """The embedded PostgreSQL cannot be prepared, started or stopped."""


class CollectionError(PgCorpusError):
    """The collection cannot be used as asked."""


class CollectionNotFoundError(CollectionError, LookupError):
    """There is no such collection."""


class EmbeddingModelMismatchError(CollectionError):
    """The collection was embedded with another model."""


class SwitchError(CollectionError):
    """The collection's model cannot be switched as asked."""


class SearchError(PgCorpusError, ValueError):
    """A search is asked for something impossible."""


class SearchTimeoutError(SearchError, TimeoutError):
    """The search took longer than its timeout."""


class FilterError(PgCorpusError, ValueError):
    """A filter cannot be understood."""


class DocumentError(PgCorpusError, ValueError):
    """A document cannot be stored."""


class VectorError(DocumentError, DontWrapMixin):
    """A vector cannot be stored or searched with."""

    # DontWrapMixin: raised while a statement's parameters are bound, it passes through SQLAlchemy as it is.


class SourceError(PgCorpusError):
    """A file or stream cannot be read as documents."""


class EmbeddingError(PgCorpusError):
    """The embedder failed or answered something that cannot be used."""


class TextTooLongError(EmbeddingError):
    """A text has more tokens than the model takes.

    Attributes:
        position: Its place in the list that was given.
    """

    def __init__(self, message: str, position: int) -> None:
        self.position = position
        super().__init__(message)


class AnswerError(PgCorpusError):
    """The chat model failed or answered something that cannot be used."""
