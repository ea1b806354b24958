"""The manual's sections, and the entries of its index with the sections they point to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.retrieval.manual import INDEX, ManualError
from pgcorpus.services.chunking import MAX_CHARS, chunk_text

# Shorter ones are headings with a table of contents, or the name of a command.
MIN_CHARACTERS = 200

_XHTML = "{http://www.w3.org/1999/xhtml}"
_DIVISION = re.compile(r"article|book|part|reference|preface|chapter|appendix|section|refentry|(ref|simple)?sect[1-5]?")
# No XML name has it, so no anchor.
_PART = "~"
_SKIPPED = frozenset({"navheader", "navfooter", "toc", "titlepage"})
_TITLED = frozenset({"titlepage", "refnamediv"})
_HEADINGS = frozenset(f"{_XHTML}h{level}" for level in range(1, 7))
_INLINE = frozenset(
    _XHTML + tag for tag in ("a", "b", "code", "em", "i", "kbd", "span", "strong", "sub", "sup", "tt", "var")
)
_NUMBER = re.compile(r"^(?:(?:Chapter|Appendix|Part)\s+)?(?:\d+|[A-Z]|[IVX]+)(?:\.\d+)*\.\s+")


@dataclass(frozen=True, slots=True)
class Section:
    """A section without those inside it.

    Attributes:
        key: Page and anchor.
        title: With those of the sections around it on its page.
        text: Without headings; white space is a single blank.
    """

    key: str
    title: str
    text: str

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.key.partition("#")[0]

    @property
    def content(self) -> str:
        """Title and text: what is embedded and searched."""
        return f"{self.title}\n\n{self.text}"

    def passages(self) -> Iterator[Section]:
        """Yield its passages, each under its title, of the length that ingest makes them."""
        room = MAX_CHARS - len(self.title) - 2
        for number, passage in enumerate(chunk_text(self.text, max_chars=room)):
            yield replace(self, key=f"{self.key}{_PART}{number}", text=passage.content)


@dataclass(frozen=True, slots=True)
class Query:
    """An entry of the index, and the keys of the sections it points to."""

    text: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Manual:
    """What there is to be found and to ask.

    Attributes:
        title: With the version.
        sections: Those long enough to be documents.
        queries: Those of which at least one section is a document.
        left_out: How many entries point to shorter sections only.
    """

    title: str
    sections: list[Section]
    queries: list[Query]
    left_out: int

    @property
    def pairs(self) -> int:
        """How many pairs of an entry and a section there are."""
        return sum(len(query.relevant) for query in self.queries)


def read_manual(folder: Path) -> Manual:
    """Parse the manual's pages.

    Args:
        folder: With the pages, as DocBook makes them.

    Raises:
        ManualError: A page is no XHTML, or there are no sections or entries.
    """
    pages = _Pages()
    for path in sorted(folder.glob("*.html")):
        if path.name != INDEX:
            pages.read(path.name, _root(path))
    sections = [each for each in pages.sections() if len(each.text) > MIN_CHARACTERS]
    pointed = _pointed(_root(folder / INDEX), pages)
    documents = {section.key for section in sections}
    kept = {text: frozenset(keys & documents) for text, keys in pointed.items()}
    queries = [Query(text, keys) for text, keys in kept.items() if keys]
    if not queries:
        raise ManualError(f"{folder} has no index entries that lead to sections")
    return Manual(_book_title(folder), sections, queries, len(kept) - len(queries))


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()  # noqa: S314 -- the distribution's own pages
    except ElementTree.ParseError as exc:
        raise ManualError(f"{path} is not XHTML: {exc}") from exc


def _book_title(folder: Path) -> str:
    index = folder / "index.html"
    title = _root(index).find(f"{_XHTML}head/{_XHTML}title") if index.is_file() else None
    return "PostgreSQL manual" if title is None else _plain(title)


def sections_of(keys: Iterable[str]) -> list[str]:
    """Return the keys of the sections of documents, which may be passages; each once, where it comes first."""
    return list(dict.fromkeys(key.partition(_PART)[0] for key in keys))


# --- Pages


@dataclass(slots=True)
class _Open:
    key: str
    title: str
    parts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Pages:
    """The sections of all pages, and which of them an address leads to."""

    found: dict[str, _Open] = field(default_factory=dict)
    _by_address: dict[str, str] = field(default_factory=dict)

    def read(self, page: str, root: ElementTree.Element) -> None:
        self._walk(root, page, None)

    def sections(self) -> Iterator[Section]:
        for each in self.found.values():
            yield Section(each.key, each.title, _squeezed("".join(each.parts)))

    def at(self, address: str) -> str | None:
        """Return the key of the section that an address lies in."""
        return self._by_address.get(address)

    def _walk(self, element: ElementTree.Element, page: str, section: _Open | None) -> None:
        kind = _class(element)
        if _DIVISION.fullmatch(kind):
            section = self._opened(element, page, section)
        self._note(element, page, section)
        if section is None or not (kind in _SKIPPED or element.tag in _HEADINGS):
            self._walk_inside(element, page, section)

    def _walk_inside(self, element: ElementTree.Element, page: str, section: _Open | None) -> None:
        gap = "" if element.tag in _INLINE else " "
        parts = section.parts if section else []
        parts += (gap, element.text or "")
        for child in element:
            self._walk(child, page, section)
            parts.append(child.tail or "")
        parts.append(gap)

    def _opened(self, element: ElementTree.Element, page: str, around: _Open | None) -> _Open:
        titles = (around.title if around else "", _title(element))
        key = f"{page}#{element.get('id', '')}"
        return self.found.setdefault(key, _Open(key, " — ".join(filter(None, titles))))

    def _note(self, element: ElementTree.Element, page: str, section: _Open | None) -> None:
        if section is not None:
            self._by_address.setdefault(page, section.key)
            if anchor := element.get("id"):
                self._by_address[f"{page}#{anchor}"] = section.key


def _title(division: ElementTree.Element) -> str:
    """Return what stands above a section, without its number."""
    for child in division:
        inside = child.iter() if _class(child) in _TITLED else (child,)
        for element in inside:
            if element.tag in _HEADINGS:
                return _NUMBER.sub("", _plain(element))
    return ""


# --- The index


def _pointed(root: ElementTree.Element, pages: _Pages) -> Mapping[str, set[str]]:
    """Map each entry to the keys of its sections."""
    pointed: dict[str, set[str]] = {}
    for division in root.iter(f"{_XHTML}div"):
        if _class(division) == "indexdiv":
            for terms in division.findall(f"{_XHTML}dl"):
                for text, address in _entries(terms, ""):
                    if key := pages.at(address):
                        pointed.setdefault(text, set()).add(key)
    return pointed


def _entries(terms: ElementTree.Element, before: str) -> Iterator[tuple[str, str]]:
    """Yield entries and addresses; a list after a term has its sub-terms."""
    text = before
    for child in terms:
        if child.tag == f"{_XHTML}dt":
            text = before + _squeezed(child.text or "").rstrip(",")
            for link in child.iterfind(f"{_XHTML}a[@class='indexterm']"):
                yield text, link.get("href", "")
        else:
            for inner in child.iterfind(f"{_XHTML}dl"):
                yield from _entries(inner, f"{text}, ")


def _class(element: ElementTree.Element) -> str:
    return element.get("class", "").partition(" ")[0]


def _plain(element: ElementTree.Element) -> str:
    return _squeezed("".join(element.itertext()))


def _squeezed(text: str) -> str:
    return " ".join(text.split())
