"""What Markdown and HTML have in common: blocks under headings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pgcorpus.services.chunking.blocks import Block, Piece, pack
from pgcorpus.services.chunking.passages import Passage


@dataclass(slots=True)
class Section:
    """The blocks under one heading, and the path of headings that leads to it."""

    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)
    has_children: bool = False


@dataclass(slots=True)
class Outline:
    """Collects blocks under the heading they stand under.

    Args:
        text: What the blocks are slices of; None if they are none.
    """

    text: str | None = None
    title: str = ""
    sections: list[Section] = field(default_factory=lambda: [Section(())])
    _open: list[tuple[int, str]] = field(default_factory=list)

    def heading(self, level: int, text: str) -> None:
        """Open a section."""
        parents = [heading for heading in self._open if heading[0] < level]
        self.sections[-1].has_children = bool(parents) and parents == self._open
        self._open = [*parents, (level, text)]
        self.sections.append(Section(tuple(name for _, name in self._open)))

    def block(self, text: str, *, by_line: bool = False, start: int | None = None) -> None:
        """Add a block to the open section, unless it is blank."""
        kept = text.lstrip("\n")
        if kept.strip():
            at = None if start is None else start + len(text) - len(kept)
            self.sections[-1].blocks.append(Block(kept.rstrip(), by_line, at))

    def passages(self, max_chars: int, min_chars: int) -> Iterator[Passage]:
        """Cut each section by itself."""
        for section in self.sections:
            yield from self._of_section(section, max_chars, min_chars)

    def _of_section(self, section: Section, max_chars: int, min_chars: int) -> Iterator[Passage]:
        # The path stands in the content of every passage under it, not only in the metadata: a passage is
        # embedded and searched alone, and "Run the installer" says little without "Install > Linux". A renamed
        # heading then re-embeds its section, whose meaning did change.
        heading = " > ".join(section.path)
        shown = heading[-(max_chars // 3) :].strip()
        lead = f"{shown}\n\n" if shown and len(shown) + 2 < max_chars else ""
        bodies = pack(section.blocks, max_chars - len(lead), min_chars)
        if heading and not bodies and not section.has_children:
            bodies, lead = [Piece(shown, None, None)], ""
        metadata = {name: value for name, value in (("title", self.title), ("heading", heading)) if value}
        for body in bodies:
            yield Passage(lead + body.text, metadata, *self._place(body))

    def _place(self, body: Piece) -> tuple[int | None, int | None]:
        """Return where a passage stands, unless something was left out of its middle: a comment, a rule."""
        # A heading alone stands nowhere: its slice would be the whole text, anew for each of them.
        if self.text is None or body.start is None or _solid(self.text[body.start : body.end]) != _solid(body.text):
            return None, None
        return body.start, body.end


def _solid(text: str) -> str:
    return "".join(text.split())
