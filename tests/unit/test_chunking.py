"""Passages are cut where the text itself says so, keep their order, and survive edits elsewhere."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.chunking import Passage, chunk_html, chunk_markdown, chunk_text, keyed, passage_key
from pgcorpus.services.chunking.blocks import Block, pack

MAX = 1200
CHUNKERS = [chunk_text, chunk_markdown, chunk_html]

# Text of every kind: letters, accents, emoji sequences, line ends, markup; no surrogates and no NUL.
ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(" \n\t.!。a<>#*`-/&;![]"),
    ),
    max_size=300,
)
LIMITS = st.tuples(st.integers(1, 60), st.integers(0, 60)).map(lambda pair: (max(pair), min(pair)))


def contents(passages: list[Passage]) -> list[str]:
    return [passage.content for passage in passages]


def solid(text: str) -> str:
    """All but the white space."""
    return "".join(text.split())


def essay(seed: int, count: int = 80) -> list[str]:
    """Paragraphs of 1 to 200 words, so that some must be packed and some must be cut."""
    rng = random.Random(seed)
    longest = rng.choice([10, 60, 200])
    return [
        " ".join(
            f"w{rng.randrange(5000)}" + ("." if rng.random() < 0.08 else "") for _ in range(rng.randint(1, longest))
        )
        for _ in range(count)
    ]


# --- Locality


@given(seed=st.integers(0, 10**9), at=st.integers(0, 80), words=st.integers(1, 300))
@settings(max_examples=500, deadline=None)
def test_an_inserted_paragraph_changes_only_its_neighbourhood(seed: int, at: int, words: int) -> None:
    """Passages farther than a few limits from an insertion stay as they are, before it and after it."""
    paragraphs = essay(seed)
    inserted = " ".join(f"new{number}" for number in range(words))
    before = "\n\n".join(paragraphs)
    old = contents(chunk_text(before))
    new = contents(chunk_text("\n\n".join([*paragraphs[:at], inserted, *paragraphs[at:]])))

    # A cut sees one limit far; each of the two merge rounds sees two passages farther.
    reach = 5 * MAX
    place = len(solid("".join(paragraphs[:at])))
    assert _far_before(old, place - reach) == _far_before(new, place - reach)
    rest = len(solid(before)) - place
    assert _far_before(old[::-1], rest - reach) == _far_before(new[::-1], rest - reach)
    # Next to it only a handful: at most 6 in 1,500 random trials, one or two in 94 of 100.
    assert len(set(new) - set(old)) <= 8 + len(inserted) // 300


def _far_before(passages: list[str], limit: int) -> list[str]:
    kept, position = [], 0
    for passage in passages:
        position += len(solid(passage))
        if position > limit:
            break
        kept.append(passage)
    return kept


def test_an_insertion_usually_changes_one_or_two_passages() -> None:
    """Over many texts the average insertion rewrites fewer than two passages of about fifty."""
    changed = []
    for seed in range(60):
        paragraphs = essay(seed)
        at = seed % len(paragraphs)
        old = set(contents(chunk_text("\n\n".join(paragraphs))))
        new = set(contents(chunk_text("\n\n".join([*paragraphs[:at], "An inserted remark.", *paragraphs[at:]]))))
        changed.append(len(new - old))
    assert sum(changed) / len(changed) < 2


def test_text_that_repeats_itself_keeps_its_passages_after_an_insertion() -> None:
    """Where the text gives no hint where to cut, equal passages still have equal contents and few keys change."""
    line = "The same paragraph again and again."
    old = contents(chunk_text("\n\n".join([line] * 1000)))
    new = contents(chunk_text("\n\n".join([line] * 500 + ["Something else."] + [line] * 500)))
    assert len(set(new) - set(old)) <= 3
    assert len(old) < 40


def test_an_insertion_into_long_markdown_changes_one_or_two_passages() -> None:
    """Whatever section a paragraph is put into, the passages of all others stay as they are."""
    sections = [(f"## Section {number}", essay(number, 6)) for number in range(30)]
    old = contents(chunk_markdown(_markdown(sections)))
    changed = []
    for number in range(0, 30, 2):
        longer = [(head, [*body[:3], "An inserted remark.", *body[3:]]) if at == number else (head, body)
                  for at, (head, body) in enumerate(sections)]  # fmt: skip
        changed.append(len(set(contents(chunk_markdown(_markdown(longer)))) - set(old)))
    assert len(old) > 60
    assert max(changed) <= 3
    assert sum(changed) / len(changed) <= 1.5


def _markdown(sections: list[tuple[str, list[str]]]) -> str:
    return "# Book\n\n" + "\n\n".join("\n\n".join([head, *body]) for head, body in sections)


# --- What every split must hold


@given(text=ANY_TEXT, limits=LIMITS)
@settings(max_examples=400, deadline=None)
def test_plain_text_loses_nothing_and_keeps_its_order(text: str, limits: tuple[int, int]) -> None:
    """All that is no white space appears once, in order, in passages that are neither empty nor too long."""
    passages = contents(chunk_text(text, *limits))
    assert solid("".join(passages)) == solid(text)
    assert all(passage.strip() and len(passage) <= limits[0] for passage in passages)


@pytest.mark.parametrize("chunk", [chunk_markdown, chunk_html])
@given(text=ANY_TEXT, limits=LIMITS)
@settings(max_examples=200, deadline=None)
def test_markup_of_any_quality_gives_sound_passages(chunk, text, limits) -> None:
    """No input breaks a reader; passages are neither empty nor too long, hold no NUL, and are the same every time."""
    passages = chunk(text, *limits)
    assert passages == chunk(text, *limits)
    for content in contents(passages):
        assert content.strip()
        assert len(content) <= limits[0]
        assert "\0" not in content


@given(text=ANY_TEXT)
def test_markdown_bodies_lose_nothing(text: str) -> None:
    """Every word of a Markdown body is found in its passages, link definitions included."""
    body = re.sub(r"[^\w\s]", "", text)
    source = f"[first]: http://example.org/\n\nstart\n\n{body}\n\n[ref]: http://example.org/x\n"
    found = solid("".join(contents(chunk_markdown(source))))
    assert sorted(solid(source)) == sorted(found)


@pytest.mark.parametrize("chunk", CHUNKERS)
@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n", "\u2028\u00a0"])
def test_blank_text_has_no_passages(chunk, text: str) -> None:
    """Nothing in, nothing out."""
    assert chunk(text) == []


@pytest.mark.parametrize("chunk", CHUNKERS)
@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
def test_what_postgresql_cannot_store_is_refused(chunk, bad: str) -> None:
    """NUL and half a surrogate pair are errors that name the place."""
    with pytest.raises(SourceError, match="Character 1 "):
        chunk(bad)


@pytest.mark.parametrize("limits", [(0, 0), (-1, 0), (100, 101), (100, -1)])
def test_impossible_limits_are_refused(limits: tuple[int, int]) -> None:
    """A limit that no passage can meet is an error, not an endless loop."""
    with pytest.raises(ConfigError, match="impossible"):
        chunk_text("text", *limits)


# --- Where plain text is cut


def test_short_paragraphs_share_a_passage() -> None:
    """Paragraphs that fit together stay together."""
    assert contents(chunk_text("One.\n\nTwo.\n \nThree.")) == ["One.\n\nTwo.\n\nThree."]


def test_an_overlong_paragraph_is_cut_between_sentences() -> None:
    """No sentence is torn while sentences fit."""
    sentences = [f"This is sentence number {number}, of middling length." for number in range(60)]
    passages = contents(chunk_text(" ".join(sentences), 300, 50))
    assert len(passages) > 5
    assert all(passage.startswith("This is") and passage.endswith("length.") for passage in passages)


def test_sentences_without_spaces_between_them_are_found() -> None:
    """Chinese and Japanese put no space after a sentence."""
    passages = contents(chunk_text("这是一个句子。" * 100, 100, 20))
    assert all(passage.endswith("。") for passage in passages)


def test_an_overlong_sentence_is_cut_at_line_ends_then_between_words() -> None:
    """A log keeps its lines whole, and a line without sentences its words."""
    lines = [f"2024-01-01 12:00:{number:02} GET /page/{number} 200" for number in range(60)]
    for passage in contents(chunk_text("\n".join(lines), 200, 50)):
        assert set(passage.split("\n")) <= set(lines)
    words = [f"word{number}" for number in range(500)]
    assert " ".join(contents(chunk_text(" ".join(words), 100, 20))).split() == words


def test_an_overlong_word_is_cut_but_no_character_is_torn() -> None:
    """Accents stay with their letters and emoji sequences in one piece."""
    for cluster in ["e\u0301", "\U0001f469\u200d\U0001f52c", "a\u0300\u0301\u0302"]:
        pieces = contents(chunk_text(cluster * 400, 101, 0))
        assert "".join(pieces) == cluster * 400
        assert all(len(piece) % len(cluster) == 0 for piece in pieces)


def test_a_word_of_accents_alone_is_cut_all_the_same() -> None:
    """Where no place is good, the limit wins."""
    assert solid("".join(contents(chunk_text("\u0301" * 500, 100, 0)))) == "\u0301" * 500


def test_few_passages_are_small() -> None:
    """Less than one passage in twenty is under the minimum, and the average fills half of the limit."""
    sizes = [len(content) for seed in range(40) for content in contents(chunk_text("\n\n".join(essay(seed))))]
    assert sum(size < 200 for size in sizes) < len(sizes) / 20
    assert sum(sizes) / len(sizes) > 600


@pytest.mark.parametrize(
    "text", ["a" * 500_000, "a b " * 100_000, "\n" * 500_000, "a" + " " * 500_000 + "b", "x\n\n" * 100_000]
)
def test_monotonous_text_takes_no_quadratic_time(text: str) -> None:
    """Half a megabyte without structure is split while one waits; a quadratic pass would take minutes."""
    assert solid("".join(contents(chunk_text(text)))) == solid(text)


def test_blocks_by_line_are_cut_at_line_ends_before_sentence_ends() -> None:
    """Code has full stops in the middle of lines."""
    code = "\n".join(f"print('One. Two. Three. {number}')" for number in range(50))
    for passage in pack([Block(code, by_line=True)], 200, 50):
        assert all(line.startswith("print(") and line.endswith(")") for line in passage.text.split("\n"))


# --- Markdown


def test_headings_become_a_path_in_content_and_metadata() -> None:
    """A passage carries its heading path, since it is embedded and searched alone."""
    passages = chunk_markdown("# Install\n\nIntro.\n\n## *Linux* and `BSD`\n\nRun it.\n\n# Use\n\nGo.\n")
    assert [(p.content, p.metadata["heading"]) for p in passages] == [
        ("Install\n\nIntro.", "Install"),
        ("Install > Linux and BSD\n\nRun it.", "Install > Linux and BSD"),
        ("Use\n\nGo.", "Use"),
    ]
    assert {p.metadata["title"] for p in passages} == {"Install"}


def test_a_heading_without_text_is_kept_unless_a_deeper_one_follows() -> None:
    """A lone heading is a passage; one with children is found in their paths."""
    passages = chunk_markdown("# A\n\n## B\n\n## C\n\ntext\n")
    assert contents(passages) == ["A > B", "A > C\n\ntext"]


def test_code_blocks_that_fit_are_kept_whole() -> None:
    """Blank lines and headings inside a fence cut nothing."""
    code = "```python\n# not a heading\nx = 1\n\n\ny = 2\n```"
    filler = "Words before the code. " * 20
    for limit in (300, 500):
        passages = contents(chunk_markdown(f"{filler}\n\n{code}\n\n{filler}", limit, 50))
        assert any(code in passage for passage in passages)


def test_overlong_code_is_cut_between_lines() -> None:
    """A fence that does not fit is cut, but no line of it."""
    lines = [f"value_{number} = compute({number}). then()" for number in range(100)]
    passages = contents(chunk_markdown("```\n" + "\n".join(lines) + "\n```", 300, 50))
    found = [line for passage in passages for line in passage.split("\n") if "value" in line]
    assert found == lines


def test_setext_headings_lists_and_rules_are_understood() -> None:
    """An underlined heading opens a section, a list stays whole, a rule is no text."""
    passages = chunk_markdown("Title\n=====\n\n* one\n\n  more\n* two\n\n---\n\nEnd.")
    assert contents(passages) == ["Title\n\n* one\n\n  more\n* two\n\nEnd."]


def test_comments_in_markdown_are_no_text_but_other_html_is() -> None:
    """Notes to editors are not searched; a block of HTML may hold text."""
    source = "<!-- note\n\nto self -->\n\nBody.\n\n<!-- a --> shown <!-- b -->\n\n<div>kept</div>\n"
    assert contents(chunk_markdown(source)) == ["Body.\n\n<!-- a --> shown <!-- b -->\n\n<div>kept</div>"]


def test_front_matter_gives_the_title_and_is_no_text() -> None:
    """What site generators put on top is not part of the text."""
    passages = chunk_markdown('---\ntitle: "My page"\nlayout: x\n---\nBody.\n')
    assert passages == [Passage("Body.", {"title": "My page"})]


def test_markdown_with_windows_line_ends_reads_the_same() -> None:
    """A carriage return is no text."""
    source = "# A\n\ntext\n\n```\ncode\n\nmore\n```\n"
    assert chunk_markdown(source.replace("\n", "\r\n")) == chunk_markdown(source)


def test_a_heading_longer_than_a_passage_leaves_room_for_the_text() -> None:
    """The path in the content is shortened from the left; the metadata keep all of it."""
    passages = chunk_markdown(f"# {'long ' * 100}\n\n## End\n\n{'word ' * 200}", 200, 50)
    assert all(len(p.content) <= 200 and "> End\n\nword" in p.content for p in passages)
    assert all(len(p.metadata["heading"]) > 400 for p in passages)


# --- HTML


def test_html_is_read_by_its_structure() -> None:
    """Headings become paths, block elements paragraphs; entities are decoded and `<title>` is the title."""
    page = """<html><head><title>T &amp; U</title></head><body><h1>Top<br>line</h1>Loose text
    <p>One <b>bold</b>\n word<div>a<p>b</p>c</div><h2>Sub</h2><ul><li>x<li>y</ul>&lt;tag&gt;&nbsp;&eacute;"""
    first, second = chunk_html(page)
    assert first.content == "Top line\n\nLoose text\n\nOne bold word\n\na\n\nb\n\nc"
    assert first.metadata == {"title": "T & U", "heading": "Top line"}
    assert second.content == "Top line > Sub\n\nx\n\ny\n\n<tag> é"
    assert second.metadata == {"title": "T & U", "heading": "Top line > Sub"}


@pytest.mark.parametrize("tag", ["script", "style", "template", "noscript", "nav"])
def test_what_is_not_text_for_readers_is_dropped(tag: str) -> None:
    """Scripts, styles and navigation are not searched."""
    assert contents(chunk_html(f"<p>a</p><{tag}><b>secret</b></{tag}><p>b<!-- c --></p>")) == ["a\n\nb"]


def test_preformatted_text_keeps_its_white_space() -> None:
    """Indentation in `<pre>` is meaning."""
    assert contents(chunk_html("<p>a</p><pre>if x:\n    <i>y</i>()\n\nz</pre>")) == ["a\n\nif x:\n    y()\n\nz"]


def test_line_breaks_and_cells_separate_words() -> None:
    """Words that a browser shows apart are not glued together."""
    assert contents(chunk_html("one<br>two<table><tr><td>a<td>b</table>")) == ["one\ntwo\n\na b"]


@pytest.mark.parametrize(
    "soup",
    [
        "<p>text<![x",
        "<p>text<b",
        "</div></p>text",
        "<h1>text",
        "<a href='>text",
        "<?php text ?>text",
        "<![if IE]>text<![endif]>",
        "<p>text<!--",
    ],
)
def test_tag_soup_gives_up_its_text(soup: str) -> None:
    """Broken markup costs no text."""
    assert "text" in "".join(contents(chunk_html(soup)))


@pytest.mark.parametrize("soup", ["<div>" * 20_000 + "deep", "<b>" * 20_000 + "deep", "<h1>deep" * 3_000])
def test_tags_nested_without_end_are_survived(soup: str) -> None:
    """Depth neither exhausts the stack nor takes quadratic time."""
    assert "deep" in contents(chunk_html(soup))[0]


# --- Keys


def test_keys_are_given_one_at_a_time_and_texts_are_let_go() -> None:
    """A source of any length has its passages keyed as they come, and none of their text is kept."""
    drawn = []

    def passages() -> Iterator[Passage]:
        for number in range(20_000):
            drawn.append(number)
            yield Passage(f"{number} " * 500)

    pairs = keyed("s", passages())
    assert drawn == []
    next(pairs)
    assert drawn == [0]
    tracemalloc.start()
    keys = {key for key, _ in pairs}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(keys) == 19_999
    assert peak < 8_000_000, "the texts have 60 MB"


def test_a_key_is_short_ascii_and_the_same_for_ever() -> None:
    """Keys are stored: another formula would embed every collection anew."""
    key = passage_key("docs/a.md", "Text with ünïcode", 3)
    assert key == "d908e6fe12c76a7c14d824e09109e0eb-3"
    assert key.isascii()
    assert len(passage_key("s" * 10_000, "c" * 10_000, 10**9)) <= 60


@given(first=st.tuples(ANY_TEXT, ANY_TEXT), second=st.tuples(ANY_TEXT, ANY_TEXT))
def test_different_passages_have_different_keys(first: tuple[str, str], second: tuple[str, str]) -> None:
    """Source and content are told apart even where their concatenations are equal."""
    assert (passage_key(*first, 0) == passage_key(*second, 0)) == (first == second)
    source, content = first
    assert passage_key(source, content + "x", 0) != passage_key(source + content, "x", 0) or content == ""


def test_equal_passages_of_a_source_are_told_apart_by_occurrence() -> None:
    """Keys are unique, and a passage put between two equal ones renames neither."""
    old = [key for key, _ in keyed("s", [Passage("a"), Passage("b"), Passage("a")])]
    new = [key for key, _ in keyed("s", [Passage("a"), Passage("new"), Passage("b"), Passage("a")])]
    assert len(set(old)) == 3
    assert set(old) < set(new)
