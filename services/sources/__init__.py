"""Where documents come from: files, folders, standard input, PDFs, any iterable of texts, rows of a database."""

from pgcorpus.services.sources.documents import Item, documents
from pgcorpus.services.sources.finding import (
    EMPTY,
    HIDDEN,
    IGNORED,
    LINKED_FOLDER,
    NO_PDF,
    OTHER_SUFFIX,
    SPECIAL,
    STDIN,
    belongs_to,
    find_sources,
)
from pgcorpus.services.sources.formats import FORMAT_BY_SUFFIX, FORMATS, format_of
from pgcorpus.services.sources.ignoring import IGNORE_FILE
from pgcorpus.services.sources.rows import rows
from pgcorpus.services.sources.source import Skipped, Source, SourceSet

__all__ = [
    "EMPTY",
    "FORMATS",
    "FORMAT_BY_SUFFIX",
    "HIDDEN",
    "IGNORED",
    "IGNORE_FILE",
    "LINKED_FOLDER",
    "NO_PDF",
    "OTHER_SUFFIX",
    "SPECIAL",
    "STDIN",
    "Item",
    "Skipped",
    "Source",
    "SourceSet",
    "belongs_to",
    "documents",
    "find_sources",
    "format_of",
    "rows",
]
