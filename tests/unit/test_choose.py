"""The embedder of a collection's model is found again, or said to be unknown; nothing is sent for it."""

from __future__ import annotations

import pytest

from pgcorpus.config import Settings
from pgcorpus.errors import MissingExtraError
from pgcorpus.services.embedding import LocalEmbedder, OpenAIEmbedder, choose_embedder
from pgcorpus.services.embedding.choose import dimensions_of, embedder_of_model

KEY = Settings(openai_api_key="sk-test")
NO_KEY = Settings()


@pytest.mark.parametrize(
    "model",
    [
        "text-embedding-3-small",
        "text-embedding-3-small@512",
        "text-embedding-3-large",
        "text-embedding-3-large@1536",
        "text-embedding-ada-002",
    ],
)
def test_the_embedder_of_an_openai_model_has_its_identity(model: str) -> None:
    embedder = embedder_of_model(model, KEY)
    assert isinstance(embedder, OpenAIEmbedder)
    assert embedder.model == model
    assert embedder.dimensions == dimensions_of(model)


@pytest.mark.parametrize(
    "model",
    ["", "unknown", "unknown@8", "text-embedding-3-small@1536", "text-embedding-3-small@0", "text-embedding-3-small@",
     "text-embedding-3-small@9999", "embed-v4.0"],
)  # fmt: skip
def test_an_unknown_model_has_none(model: str) -> None:
    assert embedder_of_model(model, KEY) is None


def test_without_a_key_an_openai_model_has_none() -> None:
    assert embedder_of_model("text-embedding-3-small", NO_KEY) is None


def test_the_local_model_is_found_whatever_is_configured() -> None:
    assert isinstance(embedder_of_model(LocalEmbedder.model, KEY), LocalEmbedder)
    assert isinstance(embedder_of_model(LocalEmbedder.model, NO_KEY), LocalEmbedder)


def test_without_its_install_the_local_model_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError):
        LocalEmbedder()
    assert embedder_of_model(LocalEmbedder.model, NO_KEY) is None


def test_a_model_of_a_compatible_server_is_found_where_it_is_the_default() -> None:
    settings = Settings(openai_api_key="x", embedder="openai:bge-m3")
    embedder = embedder_of_model("bge-m3", settings)
    assert embedder is not None
    assert embedder.model == "bge-m3"
    assert embedder_of_model("text-embedding-3-small", settings) is not None


@pytest.mark.parametrize("name", ["openai", "openai:text-embedding-3-large", "local"])
def test_what_a_name_chooses_is_found_again_by_its_model(name: str) -> None:
    chosen = choose_embedder(name, KEY)
    found = embedder_of_model(chosen.model, KEY)
    assert found is not None
    assert (type(found), found.model) == (type(chosen), chosen.model)


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [("text-embedding-3-large", 3072), ("text-embedding-3-large@256", 256), ("team@2024", None), ("mine", None)],
)
def test_the_length_is_in_the_identity_of_known_models_only(model: str, dimensions: int | None) -> None:
    assert dimensions_of(model) == dimensions
