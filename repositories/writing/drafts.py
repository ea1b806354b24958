"""What is handed in to be written, in whatever form, as checked drafts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from sqlalchemy import Column, inspect
from sqlalchemy.sql.elements import ClauseElement

from pgcorpus import vectors
from pgcorpus.errors import DocumentError, VectorError
from pgcorpus.repositories.values import json_problem, kind, text_problem
from pgcorpus.vectors import Array

# A btree entry holds about 2,700 bytes (PostgreSQL documentation, "B-Tree Indexes"); source and key are indexed.
MAX_NAME_BYTES = 2_000
_MAX_POSITION = 2**31 - 1
_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document to be.

    Attributes:
        key: Its name in the collection; empty where it has none, and is given a random one when it is added.
        content: The text.
        meta: A JSON object.
        embedding: Shape (dimensions,); None where the stored one of the same content is to be kept.
        language: Full-text language; the collection's by default.
        source: Where the text is from.
        position: Order within the source.
        fields: Further columns of a model of your own, by attribute name.
    """

    key: str = ""
    content: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    embedding: Array | None = field(default=None, compare=False)
    language: str | None = None
    source: str | None = None
    position: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


# A document as the writing methods take it: a Draft, an unsaved instance of the model, or a mapping of its attributes.
DocumentLike = Any

_OWN = frozenset(each.name for each in fields(Draft)) - {"fields"}
# What the database and the repository keep; nobody hands it in.
_KEPT = frozenset({"id", "version", "updated_at"})
_MADE_HERE = frozenset({"collection_id", "content_hash"})


class Drafts:
    """Turns documents of a model into checked drafts.

    Args:
        model: The mapped document class.
    """

    def __init__(self, model: type[Any]) -> None:
        self._model = model
        columns = columns_of(model)
        vector: Any = columns["embedding"].type
        self._dimensions: int | None = vector.dim
        self._further = {name for name, column in columns.items() if column.computed is None}
        self._further -= _OWN | _KEPT | _MADE_HERE
        self._attributes = frozenset(columns) - _KEPT - _MADE_HERE
        self._defaulted = frozenset(name for name, column in columns.items() if has_default(column))

    def of(self, documents: Iterable[DocumentLike]) -> Iterator[Draft]:
        """Yield a draft for each document, as they come.

        Args:
            documents: Drafts, mappings of attribute names, or unsaved instances.

        Raises:
            DocumentError: One is of another kind, names an unknown attribute, or cannot be stored; the message
                begins with its position.
            VectorError: Its embedding cannot be stored.
        """
        if isinstance(documents, str | Mapping) or not isinstance(documents, Iterable):
            raise DocumentError(f"expected documents, not {kind(documents)}")
        for position, document in enumerate(documents):
            yield self._draft(document, f"document {position}")

    def _draft(self, document: DocumentLike, place: str) -> Draft:
        if isinstance(document, Draft):
            draft = document
            if draft.fields:
                self._check_fields(draft.fields, place)
        elif isinstance(document, Mapping):
            draft = self._from_values(document, place)
        elif isinstance(document, self._model):
            draft = self._from_values(self._set_attributes(document, place), place)
        else:
            name = self._model.__name__
            raise DocumentError(f"{place}: expected a Draft, a {name} or a mapping, not {kind(document)}")
        check_draft(draft, place)
        return self._with_vector(draft, place)

    def _set_attributes(self, instance: Any, place: str) -> dict[str, Any]:
        state = inspect(instance)
        if state.key is not None:
            raise DocumentError(f"{place}: it is stored already; change it in its session and flush")
        # One that a rollback gave back has the id of its first try, and is new all the same.
        given = {name: value for name, value in state.dict.items() if name in self._attributes}
        # To a flush too, None of an attribute that has a default is not given.
        return {name: value for name, value in given.items() if value is not None or name not in self._defaulted}

    def _from_values(self, values: Mapping[str, Any], place: str) -> Draft:
        own = {name: value for name, value in values.items() if name in _OWN}
        further = {name: value for name, value in values.items() if name not in _OWN}
        self._check_fields(further, place)
        if own.get("key") == "":
            raise DocumentError(f"{place}: the key is empty")
        # Not given and None are one: the default.
        return Draft(**{name: value for name, value in own.items() if value is not None}, fields=further)

    def _check_fields(self, values: Mapping[str, Any], place: str) -> None:
        for name, value in values.items():
            if name in _KEPT | _MADE_HERE:
                raise DocumentError(f"{place}: {name!r} is not given, it is kept by the database or made here")
            if name not in self._further:
                known = ", ".join(sorted(_OWN | self._further))
                raise DocumentError(f"{place}: {str(name)[:60]!r} is no attribute of a document; there are {known}")
            if isinstance(value, ClauseElement):
                raise DocumentError(f"{place}: {name} is SQL, not a value")
            if isinstance(value, str) and (problem := text_problem(value)):
                raise DocumentError(f"{place}: {name} {problem}")

    def _with_vector(self, draft: Draft, place: str) -> Draft:
        given = draft.embedding
        if given is None:
            return draft
        array = checked_vector(given, self._dimensions, place)
        return draft if array is given else replace(draft, embedding=array)


def columns_of(model: type[Any]) -> dict[str, Column[Any]]:
    """Return the columns of a model's own by attribute name; a ``column_property`` of an expression is none."""
    mapper = inspect(model)
    columns = {each.key: each.columns[0] for each in mapper.column_attrs}
    return {
        name: column for name, column in columns.items() if isinstance(column, Column) and column.table in mapper.tables
    }


def has_default(column: Column[Any]) -> bool:
    """Return whether a column that nobody gives a value for gets one, here or on the server."""
    is_numbered = column.table.autoincrement_column is column
    return is_numbered or column.default is not None or column.server_default is not None


def attributes_of(draft: Draft) -> dict[str, Any]:
    """Return what a draft says, by the model's attribute names."""
    values = {name: getattr(draft, name) for name in _OWN if name != "key" or draft.key}
    return {name: value for name, value in values.items() if value is not None} | dict(draft.fields)


def checked_vector(value: vectors.VectorLike, dimensions: int | None, place: str) -> Array:
    """Return a vector that can be stored and compared.

    Raises:
        VectorError: As :func:`pgcorpus.vectors.as_searchable`; the message begins with the place.
    """
    if _is_searchable(value, dimensions):
        return value  # type: ignore[return-value]
    try:
        return vectors.as_searchable(value, dimensions)
    except VectorError as exc:
        raise VectorError(f"{place}: {exc}") from exc


def _is_searchable(value: Any, dimensions: int | None) -> bool:
    """A length that is a positive number tells in a tenth of the time that every element is one."""
    if type(value) is not np.ndarray or value.dtype is not _FLOAT32 or value.shape != (dimensions,):
        return False
    return 0 < float(np.dot(value, value)) < math.inf


def check_draft(draft: Draft, place: str) -> None:
    """Pass if a draft's text, names and metadata can be stored.

    Args:
        draft: Its embedding is looked at elsewhere; a key it need not have.
        place: What it is called in errors.

    Raises:
        DocumentError: It has no content, text or metadata that PostgreSQL cannot hold, or a name that is too long.
    """
    if not _is_plain_text(draft.content):
        check_text(draft.content, place, "the content")
    for name, what in ((draft.key or None, "the key"), (draft.source, "the source")):
        if name is not None and not (_is_plain_text(name) and len(name) <= MAX_NAME_BYTES):
            check_name(name, f"{place}: {what}")
    if draft.language is not None:
        check_text(draft.language, place, "the language")
    if draft.position is not None:
        _check_position(draft.position, place)
    if draft.meta and not _is_plain_meta(draft.meta) and (problem := _meta_problem(draft.meta, place)):
        raise DocumentError(problem)


def check_keys(drafts: Iterable[Draft], *, needed: bool) -> None:
    """Pass if no two drafts have one key.

    Args:
        drafts: In the order of their positions.
        needed: Whether each must have a key.

    Raises:
        DocumentError: The message names the positions.
    """
    seen: dict[str, int] = {}
    for position, draft in enumerate(drafts):
        if not draft.key:
            if needed:
                raise DocumentError(f"document {position}: the key is empty, and by it a stored document is found")
            continue
        if draft.key in seen:
            raise DocumentError(f"document {position}: the key {draft.key!r} is that of document {seen[draft.key]} too")
        seen[draft.key] = position


def check_name(name: Any, what: str) -> None:
    """Pass if a source's or document's name can be stored and indexed.

    Raises:
        DocumentError: It is no text, empty, too long, or holds what PostgreSQL's text cannot.
    """
    _check_text(name, what)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise DocumentError(f"{what} is longer than {MAX_NAME_BYTES:,} bytes")


def check_text(text: Any, place: str, what: str) -> None:
    """Pass if PostgreSQL can hold a text.

    Raises:
        DocumentError: It is no text, empty, or holds a null character or half a character.
    """
    _check_text(text, f"{place}: {what}")


def _check_text(text: Any, what: str) -> None:
    if not isinstance(text, str):
        raise DocumentError(f"{what} is not text but {kind(text)}")
    if not text:
        raise DocumentError(f"{what} is empty")
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise DocumentError(f"{what} {text_problem(text)}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_position(position: Any, place: str) -> None:
    if isinstance(position, bool) or not isinstance(position, int):
        raise DocumentError(f"{place}: the position is not an integer but {kind(position)}")
    if not -_MAX_POSITION <= position <= _MAX_POSITION:
        raise DocumentError(f"{place}: the position {position:,} is beyond a 32-bit integer")


def _meta_problem(meta: Any, place: str) -> str | None:
    if not isinstance(meta, Mapping):
        return f"{place}: metadata is not an object but {kind(meta)}"
    return json_problem(dict(meta), f"{place}: metadata")


# A bulk load has some 20 microseconds for a row. Most rows are plain, which these tell in no time; what they do not
# pass is looked at again, for the words of the error.


def _is_plain_text(text: Any) -> bool:
    return type(text) is str and text != "" and text.isascii() and "\0" not in text


def _is_plain_meta(meta: Any) -> bool:
    return type(meta) is dict and all(map(_is_plain_text, meta)) and all(map(_is_plain_value, meta.values()))


def _is_plain_value(value: Any) -> bool:
    if type(value) is str:
        return value.isascii() and "\0" not in value
    if type(value) is int or type(value) is float:
        return -_MAX_POSITION <= value <= _MAX_POSITION
    return value is None or type(value) is bool
