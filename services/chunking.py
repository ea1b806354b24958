"""Texts, Markdown and HTML become passages, each with a key that survives edits elsewhere in the file."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, Tag
from bs4.exceptions import ParserRejectedMarkup
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.packing import Block, pack, paragraphs

MAX_CHARS = 1200
MIN_CHARS = 200

_KEY_BYTES = 16
_LENGTH_BYTES = 8
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WHITESPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit of retrieval, before it is embedded."""

    content: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def passage_key(source: str, content: str, occurrence: int) -> str:
    """Name a passage by what it says rather than where it stands, so that an insertion renames nothing.

    Args:
        source: The source's name; a collection's keys are unique, and two files may share a paragraph.
        content: The passage's text.
        occurrence: How many passages of this source with the same text stand before it.
    """
    name = source.encode()
    digest = blake2b(len(name).to_bytes(_LENGTH_BYTES, "big"), digest_size=_KEY_BYTES)
    digest.update(name)
    digest.update(content.encode())
    return f"{digest.hexdigest()}-{occurrence}"


def keyed(source: str, passages: Iterable[Passage]) -> list[tuple[str, Passage]]:
    """Give each passage of a source its key."""
    seen: Counter[str] = Counter()
    pairs = []
    for passage in passages:
        pairs.append((passage_key(source, passage.content, seen[passage.content]), passage))
        seen[passage.content] += 1
    return pairs


def find_unstorable(text: str) -> int | None:
    """Return where the first character is that PostgreSQL cannot store: NUL or half a surrogate pair."""
    found = _UNSTORABLE.search(text)
    return found.start() if found else None


def replace_unstorable(text: str) -> str:
    """Put the replacement character in place of what PostgreSQL cannot store."""
    return _UNSTORABLE.sub("\ufffd", text)


def normalize_newlines(text: str) -> str:
    """Turn the line ends of Windows and old Macs into newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def chunk_text(text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS) -> list[Passage]:
    """Split plain text at paragraph ends.

    Args:
        text: The whole text; empty or blank text has no passages.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour where both fit together.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    _check(text, max_chars, min_chars)
    return [Passage(content) for content in pack(paragraphs(text), max_chars, min_chars)]


def chunk_markdown(text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS) -> list[Passage]:
    """Split Markdown at headings, then between blocks; `heading` and `title` become metadata.

    Args:
        text: CommonMark, with tables; front matter is left out but for its title.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour in their section where both fit.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    _check(text, max_chars, min_chars)
    return list(_passages(_read_markdown(normalize_newlines(text)), max_chars, min_chars))


def chunk_html(text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS) -> list[Passage]:
    """Split a web page at headings, then between block elements; `heading` and `title` become metadata.

    Args:
        text: HTML of any quality.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour in their section where both fit.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    _check(text, max_chars, min_chars)
    return list(_passages(_read_html(text), max_chars, min_chars))


def _check(text: str, max_chars: int, min_chars: int) -> None:
    if max_chars < 1 or not 0 <= min_chars <= max_chars:
        raise ConfigError(
            f"Passages of {min_chars} to {max_chars} characters are impossible: "
            "choose 0 <= min_chars <= max_chars and max_chars >= 1"
        )
    at = find_unstorable(text)
    if at is not None:
        raise SourceError(f"Character {at} is {text[at]!a}, which PostgreSQL cannot store: remove it")


# --- Sections: what Markdown and HTML have in common


@dataclass(slots=True)
class _Section:
    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)
    has_children: bool = False


@dataclass(slots=True)
class _Outline:
    """Collects blocks under the heading they stand under."""

    title: str = ""
    sections: list[_Section] = field(default_factory=lambda: [_Section(())])
    _open: list[tuple[int, str]] = field(default_factory=list)

    def heading(self, level: int, text: str) -> None:
        parents = [heading for heading in self._open if heading[0] < level]
        self.sections[-1].has_children = bool(parents) and parents == self._open
        self._open = [*parents, (level, text)]
        self.sections.append(_Section(tuple(name for _, name in self._open)))

    def block(self, text: str, *, by_line: bool = False) -> None:
        kept = text.strip("\n").rstrip()
        if kept.strip():
            self.sections[-1].blocks.append(Block(kept, by_line))


def _passages(outline: _Outline, max_chars: int, min_chars: int) -> Iterator[Passage]:
    for section in outline.sections:
        # The path stands in the content of every passage under it, not only in the metadata: a passage is
        # embedded and searched alone, and "Run the installer" says little without "Install > Linux". A renamed
        # heading then re-embeds its section, whose meaning did change.
        heading = " > ".join(section.path)
        shown = heading[-(max_chars // 3) :].strip()
        lead = f"{shown}\n\n" if shown and len(shown) + 2 < max_chars else ""
        bodies = pack(section.blocks, max_chars - len(lead), min_chars)
        if heading and not bodies and not section.has_children:
            bodies, lead = [shown], ""
        metadata = {name: value for name, value in (("title", outline.title), ("heading", heading)) if value}
        yield from (Passage(lead + body, metadata) for body in bodies)


# --- Markdown

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_FRONT_MATTER_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_BY_LINE_TOKENS = frozenset({"fence", "code_block", "table_open", "html_block"})


def _read_markdown(text: str) -> _Outline:
    outline = _Outline()
    front_matter = _FRONT_MATTER.match(text)
    if front_matter:
        text = text[front_matter.end() :]
        title = _FRONT_MATTER_TITLE.search(front_matter[1])
        outline.title = title[1].strip("\"'") if title else ""
    # Inline markup is parsed for headings only; bodies are taken from the source by line numbers.
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    _collect_blocks(outline, parser.parse(text), text.split("\n"))
    return outline


def _collect_blocks(outline: _Outline, tokens: Sequence[Token], lines: Sequence[str]) -> None:
    starts = [at for at, token in enumerate(tokens) if token.level == 0 and token.map and token.nesting >= 0]
    # A block runs on to the next one's start: link definitions have no token, yet must not be lost.
    bounds = [*((tokens[at].map or [0])[0] for at in starts), len(lines)]
    outline.block("\n".join(lines[: bounds[0]]))
    for at, (first, end) in zip(starts, pairwise(bounds), strict=True):
        token = tokens[at]
        if token.type == "heading_open":
            _markdown_heading(outline, int(token.tag[1:]), tokens[at + 1].content)
        if token.type in {"heading_open", "hr"} or _is_comment(token):
            first = (token.map or [0, first])[1]
        outline.block("\n".join(lines[first:end]), by_line=token.type in _BY_LINE_TOKENS)


def _is_comment(token: Token) -> bool:
    text = token.content.strip()
    return token.type == "html_block" and text.startswith("<!--") and text.find("-->") == len(text) - 3


def _markdown_heading(outline: _Outline, level: int, source: str) -> None:
    inline = MarkdownIt("commonmark").parseInline(source)[0]
    parts = [" " if child.type == "softbreak" else child.content for child in inline.children or ()]
    text = _WHITESPACE.sub(" ", "".join(parts)).strip()
    if text:
        outline.heading(level, text)
        if level == 1 and not outline.title:
            outline.title = text


# --- HTML

_DROPPED = ("script", "style", "template", "noscript", "nav")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SPACERS = {"br": "\n", "td": " ", "th": " "}
_BLOCK_TAGS = frozenset(
    re.findall(
        r"\w+",
        """address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption
        figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu ol optgroup option p pre
        search section summary table tbody tfoot thead tr ul""",
    )
)


def _read_html(text: str) -> _Outline:
    soup = _parse_html(text)
    outline = _Outline()
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for tag in soup.find_all("title"):
        outline.title = outline.title or _WHITESPACE.sub(" ", tag.get_text()).strip()
        tag.decompose()
    _collect_elements(outline, soup)
    return outline


def _parse_html(text: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        # A short text may look like a file name, and XHTML is what we were given.
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            return BeautifulSoup(text, "html.parser")
        except ParserRejectedMarkup:
            # The parser gives up on broken marked sections such as "<![x"; as text they do no harm.
            return BeautifulSoup(text.replace("<!", "&lt;!"), "html.parser")


def _collect_elements(outline: _Outline, soup: BeautifulSoup) -> None:
    """Read the strings in document order; a paragraph ends where another block element begins or goes on."""
    # The paragraph of each tag's nearest block element; climbing to it from each string could take
    # quadratic time.
    owners = {id(soup): _Paragraph(outline)}
    current = owners[id(soup)]
    for node in soup.descendants:
        owner = owners[id(node.parent)]
        if isinstance(node, Tag):
            if node.name in _BLOCK_TAGS:
                current.close()
                owner = owner.nested(node.name)
            owner.parts.append(_SPACERS.get(node.name, ""))
            owners[id(node)] = owner
        elif type(node) is NavigableString:  # not a comment or a declaration
            if owner is not current:
                current.close()
                current = owner
            owner.add(node)
    current.close()


@dataclass(slots=True)
class _Paragraph:
    """The text of one block element since the last nested one."""

    outline: _Outline
    level: int = 0
    """1 to 6 in a heading, else 0."""
    preformatted: bool = False
    parts: list[str] = field(default_factory=list)

    def nested(self, tag: str) -> _Paragraph:
        return _Paragraph(self.outline, _HEADINGS.get(tag, 0), self.preformatted or tag == "pre")

    def add(self, text: str) -> None:
        self.parts.append(text if self.preformatted else _WHITESPACE.sub(" ", text))

    def close(self) -> None:
        """Hand the text over, and begin anew."""
        text = "".join(self.parts)
        self.parts.clear()
        if self.preformatted:
            self.outline.block(text, by_line=True)
            return
        lines = [_WHITESPACE.sub(" ", line).strip() for line in text.split("\n")]
        kept = [line for line in lines if line]
        if self.level and kept:
            self.outline.heading(self.level, " ".join(kept))
        elif kept:
            self.outline.block("\n".join(kept))
