"""Passages measured in a model's tokens keep its limit, share a little, and survive edits elsewhere."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
import wordllama
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pgcorpus.errors import ConfigError, MissingExtraError, SourceError
from pgcorpus.services.chunking import Passage, as_tokenizer, chunk_tokens
from tests.support.tokens import small_encoding

SMALL = small_encoding()
LLAMA = Tokenizer.from_file(str(Path(wordllama.__file__).parent / "tokenizers/l2_supercat_tokenizer_config.json"))
LLAMA.no_truncation()
TOKENIZERS = {"tiktoken": SMALL, "tokenizers": LLAMA}
both = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)

ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(" \n\n\t.!。aeth\u0301\U0001f469\u200d\U0001f52c"),
    ),
    max_size=200,
)
LIMITS = st.integers(8, 60).flatmap(lambda most: st.tuples(st.just(most), st.integers(0, most // 2)))


class Words:
    """The simplest tokenizer: a token is a word."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return spans


def own(text: str, passage: Passage) -> str:
    return text[passage.start : passage.end]


def essay(seed: int, count: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(f"word{rng.randrange(99)}" + ("." if rng.random() < 0.1 else "") for _ in range(rng.randint(1, 80)))
        for _ in range(count)
    ]


# --- What every split must hold


@both
@given(text=ANY_TEXT, limits=LIMITS)
@settings(max_examples=150, deadline=None)
def test_no_passage_has_more_tokens_than_the_model_takes(tokenizer, text: str, limits: tuple[int, int]) -> None:
    """Tokenized alone, overlap included; each is a slice to the letter, and nothing but white space is lost."""
    covered = 0
    for passage in chunk_tokens(text, *limits, tokenizer=tokenizer):
        assert passage.content == own(text, passage)
        assert passage.content.strip()
        assert len(as_tokenizer(tokenizer).spans(passage.content)) <= limits[0]
        assert passage.start is not None
        assert passage.end is not None
        assert text[covered : passage.start].strip() == ""
        assert passage.end > covered
        covered = passage.end
    assert text[covered:].strip() == ""


@both
def test_passages_of_prose_fill_the_limit_and_repeat_what_stands_before(tokenizer) -> None:
    """Each but the first begins within the one before it, by no more tokens than were asked for."""
    text = "\n\n".join(essay(1))
    passages = chunk_tokens(text, 200, 30, tokenizer=tokenizer)
    spans = as_tokenizer(tokenizer).spans
    sizes = [len(spans(passage.content)) for passage in passages]
    assert max(sizes) <= 200
    assert sum(sizes) / len(sizes) > 100
    for before, after in pairwise(passages):
        assert before.start is not None
        assert before.end is not None
        assert after.start is not None
        assert before.start <= after.start <= before.end
        shared = len(spans(text)) - len(spans(text[before.end :])) - len(spans(text[: after.start]))
        assert shared <= 31, "a token that is cut in two counts twice"
    repeating = [after for before, after in pairwise(passages) if (after.start or 0) < (before.end or 0)]
    assert len(repeating) > len(passages) / 2


@both
def test_without_overlap_passages_share_nothing(tokenizer) -> None:
    """Every word is in one passage."""
    text = "\n\n".join(essay(2))
    passages = chunk_tokens(text, 100, 0, tokenizer=tokenizer)
    assert " ".join(passage.content for passage in passages).split() == text.split()


@both
def test_an_inserted_paragraph_changes_its_own_passages_and_the_overlap_of_the_next(tokenizer) -> None:
    """Over many texts, on average fewer than three passages of about thirty, and never more than a handful."""
    changed = []
    for seed in range(30):
        paragraphs = essay(seed)
        at = seed % len(paragraphs)
        longer = [*paragraphs[:at], "An inserted remark.", *paragraphs[at:]]
        old, new = (
            {passage.content for passage in chunk_tokens("\n\n".join(text), 200, 30, tokenizer=tokenizer)}
            for text in (paragraphs, longer)
        )
        changed.append(len(new - old))
        assert len(old) > 15
    assert sum(changed) / len(changed) < 3
    assert max(changed) <= 7


@pytest.mark.parametrize("cluster", ["\U0001f469\u200d\U0001f52c", "e\u0301", "你"])
@both
def test_no_character_is_torn(tokenizer, cluster: str) -> None:
    """Neither by a cut nor by an overlap, where a character is several tokens."""
    for passage in chunk_tokens(cluster * 200, 40, 15, tokenizer=tokenizer):
        assert passage.content == cluster * (len(passage.content) // len(cluster))


def test_the_overlap_never_reaches_beyond_the_passage_before() -> None:
    """Else an edit would be seen two passages farther on."""
    text = "\n\n".join(essay(4))
    starts = [passage.start for passage in chunk_tokens(text, 60, 0, tokenizer=Words())]
    passages = chunk_tokens(text, 90, 30, tokenizer=Words())
    assert len(passages) == len(starts)
    for passage, before in zip(passages[1:], starts, strict=False):
        assert passage.start is not None
        assert before is not None
        assert passage.start >= before


def test_blank_text_has_no_passages() -> None:
    """Nothing in, nothing out."""
    for text in ("", " \n\n\t", "\u2028"):
        assert chunk_tokens(text, tokenizer=Words()) == []


def test_what_postgresql_cannot_store_is_refused() -> None:
    """As by the other chunkers."""
    with pytest.raises(SourceError, match="Character 1 "):
        chunk_tokens("a\0b", tokenizer=Words())


@pytest.mark.parametrize("limits", [(7, 0), (0, 0), (100, 51), (100, -1)])
def test_impossible_limits_are_refused(limits: tuple[int, int]) -> None:
    """A character may be several tokens, and what is repeated must leave room for what is new."""
    with pytest.raises(ConfigError, match="impossible"):
        chunk_tokens("text", *limits, tokenizer=Words())


# --- Tokenizers


@given(text=ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_the_tokens_of_tiktoken_are_located(text: str) -> None:
    """Each span has the characters that its bytes are of, as tiktoken's own offsets say."""
    encoding = SMALL
    tokens = encoding.encode_ordinary(text)
    spans = as_tokenizer(encoding).spans(text)
    assert [start for start, _ in spans] == encoding.decode_with_offsets(tokens)[1]
    for (start, end), token in zip(spans, encoding.decode_tokens_bytes(tokens), strict=True):
        assert token in text[start:end].encode()
        assert end > start


@both
def test_the_tokens_of_a_text_are_in_order_and_cover_it(tokenizer) -> None:
    """A tokenizer of either library locates all that is not white space."""
    text = "The words é 你好 \U0001f469\u200d\U0001f52c, again.\n\nMore."
    spans = as_tokenizer(tokenizer).spans(text)
    assert [*spans] == sorted(spans)
    covered = {at for start, end in spans for at in range(start, end)}
    assert all(character.isspace() for at, character in enumerate(text) if at not in covered)


def test_a_tokenizer_that_cuts_texts_off_is_refused() -> None:
    """It would see the first tokens of a long text only."""
    cutting = Tokenizer.from_str(LLAMA.to_str())
    cutting.enable_truncation(16)
    with pytest.raises(ConfigError, match=r"no_truncation\(\)"):
        chunk_tokens("text", tokenizer=cutting)


def test_padding_is_no_part_of_the_text() -> None:
    """A tokenizer made for batches may add what stands nowhere."""
    padding = Tokenizer.from_str(LLAMA.to_str())
    padding.enable_padding(length=50)
    assert as_tokenizer(padding).spans("two words") == as_tokenizer(LLAMA).spans("two words")


@pytest.mark.parametrize("other", [object(), "gpt2", len])
def test_what_is_no_tokenizer_is_refused(other: object) -> None:
    """And it is said what would be one."""
    with pytest.raises(ConfigError, match=r"tiktoken\.Encoding"):
        chunk_tokens("text", tokenizer=other)


def test_the_default_tokenizer_is_that_of_openais_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its table is loaded, nothing else is asked for."""
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", SMALL)
    text = "\n\n".join(essay(5))
    assert chunk_tokens(text, 100, 10) == chunk_tokens(text, 100, 10, tokenizer=SMALL)


def test_without_tiktoken_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer of one's own needs no extra."""
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pgcorpus\[tokens\]'"):
        chunk_tokens("text")
    assert chunk_tokens("text", tokenizer=Words()) == [Passage("text")]


def test_a_table_that_cannot_be_downloaded_is_an_error_with_two_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, or behind a proxy that refuses."""
    monkeypatch.delitem(tiktoken.registry.ENCODINGS, "cl100k_base", raising=False)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"TIKTOKEN_CACHE_DIR .* tokenizer="):
        chunk_tokens("text")
