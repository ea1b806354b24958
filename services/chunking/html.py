"""Web pages become passages, by their headings and block elements."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, Tag
from bs4.exceptions import ParserRejectedMarkup

from pgcorpus.services.chunking.outline import Outline
from pgcorpus.services.chunking.passages import MAX_CHARS, MIN_CHARS, Passage, check_limits, check_storable

_WHITESPACE = re.compile(r"\s+")
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
    check_limits(max_chars, min_chars)
    check_storable(text)
    return list(_read_html(text).passages(max_chars, min_chars))


def _read_html(text: str) -> Outline:
    soup = _parse_html(text)
    outline = Outline()
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


def _collect_elements(outline: Outline, soup: BeautifulSoup) -> None:
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

    outline: Outline
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
