"""Padding, checks, planning, the choice of an embedder, and the local one."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI, OpenAI

from pgcorpus.config import Settings
from pgcorpus.errors import ConfigError, EmbeddingError, MissingExtraError
from pgcorpus.services.embedding import (
    KNOWN_MODELS,
    AsyncOpenAIEmbedder,
    Embedder,
    LocalEmbedder,
    OpenAIEmbedder,
    batch_size_of,
    check_embeddings,
    choose_embedder,
    pad,
)
from pgcorpus.services.embedding import local as local_module
from pgcorpus.services.embedding.batches import (
    Batch,
    consecutive,
    cut_to_bytes,
    cut_to_tokens,
    halves,
    plan_batches,
    utf8_bytes,
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PGCORPUS_EMBEDDER"):
        monkeypatch.delenv(name, raising=False)


def vectors(*rows: list[float]) -> Any:
    return np.array(rows, dtype=np.float32)


# Padding


def test_padding_changes_no_distance() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 256)).astype(np.float32)
    padded = pad(rows)
    assert padded.shape == (20, 1536)
    assert padded.dtype == np.float32
    np.testing.assert_allclose(padded @ padded.T, rows @ rows.T, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(padded[0] - padded[1]), np.linalg.norm(rows[0] - rows[1]), rtol=1e-6)


def test_a_single_vector_can_be_padded() -> None:
    assert pad(np.ones(3, dtype=np.float32), 5).tolist() == [1, 1, 1, 0, 0]


def test_no_vectors_can_be_padded() -> None:
    assert pad(np.empty((0, 256), dtype=np.float32)).shape == (0, 1536)


def test_vectors_of_the_right_length_are_not_copied() -> None:
    rows = np.ones((2, 1536), dtype=np.float32)
    assert pad(rows) is rows


def test_longer_vectors_are_refused_with_what_to_ask_for() -> None:
    with pytest.raises(EmbeddingError, match=r"3072 dimensions.*1536.*dimensions=1536"):
        pad(np.ones((1, 3072), dtype=np.float32))


# Checks


def test_good_vectors_pass_unchanged() -> None:
    rows = vectors([1, 2], [3, -4])
    np.testing.assert_array_equal(check_embeddings(rows, 2, 2), rows)


def test_no_vectors_for_no_texts_pass() -> None:
    assert check_embeddings([], 0, 3).shape == (0, 3)


def test_plain_lists_become_float32() -> None:
    checked = check_embeddings([[1.0, 2.0]], 1, 2)
    assert checked.dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (vectors([1, 2]), "1 vectors for 2 texts"),
        (vectors([1, 2], [3, 4], [5, 6]), "3 vectors for 2 texts"),
        (vectors([1, 2, 3], [4, 5, 6]), r"texts\[0\] has 3 dimensions instead of 2"),
        ([np.ones(2), np.ones(1)], r"texts\[1\] has 1 dimensions instead of 2"),
        (vectors([1, 2], [np.nan, 1]), r"texts\[1\] is not finite"),
        (vectors([1, np.inf], [1, 1]), r"texts\[0\] is not finite"),
        ([[1.0, 2.0], [1e300, 0.0]], r"texts\[1\] is not finite"),
        (vectors([1, 2], [0, 0]), r"texts\[1\] is zero"),
        (vectors([1, 2], [1e-30, 0]), r"texts\[1\] is zero"),
        (vectors([1, 2], [1e30, 0]), r"texts\[1\] is not finite"),
    ],
)
def test_a_vector_that_cannot_be_searched_is_named(rows: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        check_embeddings(rows, 2, 2)


# Planning


def plan(texts: list[str], max_texts: int, max_tokens: int) -> list[Batch]:
    return list(plan_batches(texts, [len(text) for text in texts], max_texts=max_texts, max_tokens=max_tokens))


def test_batches_hold_every_text_once_in_order_within_both_limits() -> None:
    lengths = np.random.default_rng(1).integers(1, 40, size=500)
    texts = ["x" * int(length) for length in lengths]
    batches = plan(texts, 7, 60)
    assert [position for batch in batches for position in batch.positions] == list(range(500))
    assert all(batch.texts == [texts[position] for position in batch.positions] for batch in batches)
    assert all(len(batch.texts) <= 7 and sum(map(len, batch.texts)) <= 60 for batch in batches)
    assert max(len(batch.texts) for batch in batches) == 7


def test_both_limits_can_be_reached_exactly() -> None:
    assert [len(batch.texts) for batch in plan(["ab"] * 4, 2, 9)] == [2, 2]
    assert [len(batch.texts) for batch in plan(["ab"] * 4, 9, 4)] == [2, 2]


def test_a_text_over_the_limit_goes_alone() -> None:
    texts = ["a" * 99, "b", "c" * 99, "d"]
    assert [list(batch.positions) for batch in plan(texts, 9, 10)] == [[0], [1], [2], [3]]


def test_the_halves_of_a_batch_are_the_batch() -> None:
    batch = Batch([3, 4, 7], ["a", "b", "c"])
    assert halves(batch) == [([3], ["a"]), ([4, 7], ["b", "c"])]


@pytest.mark.parametrize(
    ("positions", "pieces"),
    [([5], [[5]]), ([1, 2, 3], [[1, 2, 3]]), ([0, 2, 3, 9], [[0], [2, 3], [9]]), (range(2), [[0, 1]])],
)
def test_positions_are_cut_where_one_is_missing(positions: Any, pieces: list[list[int]]) -> None:
    assert [list(positions[piece]) for piece in consecutive(positions)] == pieces


def test_a_text_is_cut_to_bytes_between_characters() -> None:
    assert [cut_to_bytes("aé漢😀", limit) for limit in range(11)] == [
        "", "a", "a", "aé", "aé", "aé", "aé漢", "aé漢", "aé漢", "aé漢", "aé漢😀",
    ]  # fmt: skip


def test_a_text_is_cut_to_tokens_in_a_few_counts() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text.split())

    words = " ".join(f"w{number}" for number in range(10_000))
    beginning = cut_to_tokens(words, 100, count)
    assert len(beginning.split()) == 100
    assert len(words[: len(beginning) + 1].split()) == 101 or words[len(beginning)] == " "
    assert len(counted) < 20


def test_tokens_are_counted_in_bytes_and_not_in_characters() -> None:
    assert [utf8_bytes(text) for text in ("abc", "é", "漢", "😀")] == [3, 2, 3, 4]


# OpenAI, without a request


def test_importing_the_embedders_imports_neither_openai_nor_wordllama() -> None:
    code = (
        "import sys, pgcorpus.services.embedding as e\n"
        "e.OpenAIEmbedder(api_key='x'); e.AsyncOpenAIEmbedder(api_key='x'); e.LocalEmbedder()\n"
        "print({'openai', 'wordllama', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_missing_key_says_what_to_set_or_use_instead() -> None:
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY.*local"):
        OpenAIEmbedder()


@pytest.mark.parametrize(
    ("model", "dimensions", "identity", "length"),
    [
        ("text-embedding-3-small", None, "text-embedding-3-small", 1536),
        ("text-embedding-3-small", 1536, "text-embedding-3-small", 1536),
        ("text-embedding-3-small", 512, "text-embedding-3-small@512", 512),
        ("text-embedding-3-large", None, "text-embedding-3-large", 3072),
        ("text-embedding-3-large", 1536, "text-embedding-3-large@1536", 1536),
        ("text-embedding-ada-002", None, "text-embedding-ada-002", 1536),
        ("some-other", 64, "some-other@64", 64),
    ],
)
def test_vectors_that_cannot_be_compared_have_different_identities(
    model: str, dimensions: int | None, identity: str, length: int
) -> None:
    embedder = OpenAIEmbedder(model, dimensions=dimensions, api_key="x")
    assert (embedder.model, embedder.dimensions) == (identity, length)


@pytest.mark.parametrize(
    "options",
    [
        {"dimensions": 2000},
        {"dimensions": 0},
        {"max_inputs": 0},
        {"max_tokens": 0},
        {"max_input_tokens": 0},
        {"concurrency": 0},
        {"rounds": 0},
        {"model": "text-embedding-ada-002", "dimensions": 512},
        {"client": OpenAI(api_key="x"), "base_url": "http://localhost/v1"},
        {"client": OpenAI(api_key="x"), "max_retries": 0},
        {"client": AsyncOpenAI(api_key="x")},
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(options: dict[str, Any]) -> None:
    key: dict[str, Any] = {} if "client" in options else {"api_key": "x"}
    with pytest.raises(ConfigError):
        OpenAIEmbedder(**key, **options)


def test_each_embedder_wants_a_client_of_its_kind() -> None:
    with pytest.raises(ConfigError, match=r"openai\.AsyncOpenAI"):
        AsyncOpenAIEmbedder(client=OpenAI(api_key="x"))  # type: ignore[type-var]


def test_both_openai_embedders_take_the_same_arguments() -> None:
    assert inspect.signature(OpenAIEmbedder) == inspect.signature(AsyncOpenAIEmbedder)


def test_the_known_models_say_what_the_embedders_say() -> None:
    assert KNOWN_MODELS[LocalEmbedder.model].dimensions == LocalEmbedder.dimensions
    assert OpenAIEmbedder(api_key="x").dimensions == KNOWN_MODELS["text-embedding-3-small"].dimensions


def test_the_page_of_embedders_lists_the_known_models() -> None:
    page = (Path(__file__).parents[2] / "docs" / "embedders.md").read_text()
    for name, provider, dimensions, shortenable, tokens in KNOWN_MODELS.values():
        limit = f"{tokens:,}" if tokens else "any"
        assert f"| `{name}` | {provider} | {dimensions} | {'yes' if shortenable else 'no'} | {limit} |" in page


def test_a_batch_size_is_a_hint_that_may_be_missing() -> None:
    assert batch_size_of(object()) == 256
    assert batch_size_of(LocalEmbedder()) == 2000


def test_a_malformed_address_is_a_setting_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"check base_url"):
        OpenAIEmbedder(base_url="http://[::1", api_key="x").embed(["a"])


# The choice


@pytest.mark.parametrize(
    ("name", "settings", "identity"),
    [
        (None, {}, "wordllama-l2-supercat-256"),
        (None, {"openai_api_key": "x"}, "text-embedding-3-small"),
        (None, {"openai_api_key": "x", "embedder": "local"}, "wordllama-l2-supercat-256"),
        ("local", {"openai_api_key": "x", "embedder": "openai"}, "wordllama-l2-supercat-256"),
        ("openai", {"openai_api_key": "x", "embedder": "local"}, "text-embedding-3-small"),
        ("openai:text-embedding-ada-002", {"openai_api_key": "x"}, "text-embedding-ada-002"),
        ("openai:text-embedding-3-large", {"openai_api_key": "x"}, "text-embedding-3-large@1536"),
        ("openai:nomic-embed-text:v1.5", {"openai_api_key": "x"}, "nomic-embed-text:v1.5"),
    ],
)
def test_the_name_decides_then_the_setting_then_the_key(
    name: str | None, settings: dict[str, str], identity: str
) -> None:
    embedder: Embedder = choose_embedder(name, Settings(**settings))
    assert embedder.model == identity


@pytest.mark.parametrize("name", ["cohere", "openai:", "local:mini", "OpenAI", "openai-x"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="use openai, openai:MODEL, local"):
        choose_embedder(name, Settings(openai_api_key="x"))


def test_openai_by_name_without_a_key_is_an_error_and_not_another_model() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        choose_embedder("openai", Settings())


# The local embedder


@pytest.fixture
def unloaded() -> None:
    local_module._load.cache_clear()


def test_the_local_embedder_needs_no_network(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("the local embedder opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    rows = LocalEmbedder().embed(["a cat sat on the mat", "PostgreSQL"])
    assert rows.shape == (2, 256)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_nearer_in_meaning_is_nearer_in_space() -> None:
    question, near, far = LocalEmbedder().embed(
        ["how do I feed my kitten", "food for young cats", "the stock market fell on Monday"]
    )
    assert question @ near > question @ far


def test_a_text_has_the_same_vector_in_any_company() -> None:
    texts = [f"passage {number} " * (1 + number % 90) for number in range(300)]
    embedder = LocalEmbedder()
    together = embedder.embed(texts)
    np.testing.assert_array_equal(together, np.concatenate([embedder.embed([text]) for text in texts]))
    np.testing.assert_array_equal(together[::-1], embedder.embed(texts[::-1]))


def test_more_texts_than_wordllama_is_given_at_once_all_get_their_vector() -> None:
    texts = [f"number {number}" for number in range(4100)]
    rows = LocalEmbedder().embed(texts)
    assert rows.shape == (4100, 256)
    np.testing.assert_array_equal(rows[[0, 2000, 4099]], LocalEmbedder().embed([texts[i] for i in (0, 2000, 4099)]))


@pytest.mark.parametrize("text", [" ", "\n\t", "\u200b", "\ufeff", "\x00", "😀", "你好", "मृत", "\U0010ffff", "<unk>"])
def test_every_text_with_a_character_has_a_usable_vector(text: str) -> None:
    assert LocalEmbedder().embed([text, "a longer neighbour, so that it is padded"]).shape == (2, 256)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", ""], r"texts\[1\] is empty"),
        (["a", "\ud800"], r"texts\[1\] is not valid Unicode"),
        (["a", "b" * 1_000_001], r"texts\[1\] has more than 1,000,000 characters"),
        ("abc", r"\[text\]"),
    ],
)
def test_a_text_that_has_no_vector_is_named(texts: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        LocalEmbedder().embed(texts)


@pytest.mark.parametrize(("given", "expected"), [({}, "false"), ({"TOKENIZERS_PARALLELISM": "true"}, "true")])
def test_it_takes_one_core_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    code = (
        "import os; from pgcorpus.services.embedding import LocalEmbedder\n"
        "LocalEmbedder().embed(['a', 'b']); print(os.environ['TOKENIZERS_PARALLELISM'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_no_texts_give_no_vectors() -> None:
    assert LocalEmbedder().embed([]).shape == (0, 256)


def test_a_long_text_does_not_widen_its_whole_group() -> None:
    groups = list(local_module._groups(["x" * 100_000] + ["y" * 10] * 100))
    assert [len(group) for group in groups] == [1, 64, 36]


def test_threads_that_come_first_together_load_the_model_once(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import wordllama

    loads: list[object] = []
    load = wordllama.WordLlama.load

    def counted(**options: Any) -> Any:
        loads.append(options)
        return load(**options)

    monkeypatch.setattr(wordllama.WordLlama, "load", counted)
    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda _: LocalEmbedder().embed(["same"]), range(8)))
    assert len(loads) == 1
    assert all(np.array_equal(row, rows[0]) for row in rows)


def test_loading_leaves_the_logging_of_the_host_alone() -> None:
    code = (
        "import logging\n"
        "from pgcorpus.services.embedding import LocalEmbedder\n"
        "LocalEmbedder().embed(['a'])\n"
        "print(logging.getLogger().handlers, logging.getLogger().level)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[] 30", "")


def test_without_the_extra_the_error_names_it(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pgcorpus\[local\]'"):
        choose_embedder(None, Settings())


def test_a_wheel_without_its_weights_is_an_error_and_not_a_download(
    unloaded: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wordllama

    monkeypatch.setattr(wordllama, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(wordllama.WordLlama, "get_tokenizer_filename", lambda _uri: "absent.json")
    with pytest.raises(EmbeddingError, match=r"cannot load its model.*absent\.json.*downloads are disabled"):
        LocalEmbedder().embed(["a"])
