"""Markdown becomes passages, by its headings and blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pgcorpus.services.chunking.outline import Outline
from pgcorpus.services.chunking.passages import (
    MAX_CHARS,
    MIN_CHARS,
    Passage,
    check_limits,
    check_storable,
    normalize_newlines,
)

_WHITESPACE = re.compile(r"\s+")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_FRONT_MATTER_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_BY_LINE_TOKENS = frozenset({"fence", "code_block", "table_open", "html_block"})


def chunk_markdown(text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS) -> list[Passage]:
    """Split Markdown at headings, then between blocks; `heading` and `title` become metadata.

    Args:
        text: CommonMark, with tables; front matter is left out but for its title. Offsets are into the text as it is
            once its line ends are newlines.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour in their section where both fit.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    check_limits(max_chars, min_chars)
    check_storable(text)
    return list(_read_markdown(normalize_newlines(text)).passages(max_chars, min_chars))


def _read_markdown(text: str) -> Outline:
    outline = Outline(text)
    body_at = 0
    front_matter = _FRONT_MATTER.match(text)
    if front_matter:
        body_at = front_matter.end()
        title = _FRONT_MATTER_TITLE.search(front_matter[1])
        outline.title = title[1].strip("\"'") if title else ""
    # Inline markup is parsed for headings only; bodies are taken from the source by line numbers.
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    body = text[body_at:]
    _collect_blocks(outline, parser.parse(body), body.split("\n"), body_at)
    return outline


def _collect_blocks(outline: Outline, tokens: Sequence[Token], lines: Sequence[str], body_at: int) -> None:
    starts = [at for at, token in enumerate(tokens) if token.level == 0 and token.map and token.nesting >= 0]
    # A block runs on to the next one's start: link definitions have no token, yet must not be lost.
    bounds = [*((tokens[at].map or [0])[0] for at in starts), len(lines)]
    inline = MarkdownIt("commonmark")
    places = list(accumulate((len(line) + 1 for line in lines), initial=body_at))
    outline.block("\n".join(lines[: bounds[0]]), start=body_at)
    for at, (first, end) in zip(starts, pairwise(bounds), strict=True):
        token = tokens[at]
        if token.type == "heading_open":
            _markdown_heading(outline, int(token.tag[1:]), inline.parseInline(tokens[at + 1].content)[0])
        if token.type in {"heading_open", "hr"} or _is_comment(token):
            first = (token.map or [0, first])[1]
        outline.block("\n".join(lines[first:end]), by_line=token.type in _BY_LINE_TOKENS, start=places[first])


def _is_comment(token: Token) -> bool:
    text = token.content.strip()
    return token.type == "html_block" and text.startswith("<!--") and text.find("-->") == len(text) - 3


def _markdown_heading(outline: Outline, level: int, inline: Token) -> None:
    parts = [" " if child.type == "softbreak" else child.content for child in inline.children or ()]
    text = _WHITESPACE.sub(" ", "".join(parts)).strip()
    if text:
        outline.heading(level, text)
        if level == 1 and not outline.title:
            outline.title = text
