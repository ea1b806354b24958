"""What an app says of its database and models, and what is made of it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionError, ConfigError
from pgcorpus.integrations.hosting import AsyncHost, Host, HostSettings
from pgcorpus.services.answering import AsyncOpenAIChat, OpenAIChat
from pgcorpus.services.embedding import OpenAIEmbedder
from pgcorpus.services.sources import Source, documents
from pgcorpus.testing import HashEmbedder


def source(name: str, content: str) -> Source:
    (made,) = documents([{"source": name, "content": content}])
    return made


def settings(url: URL | None = None, **values: Any) -> HostSettings:
    return HostSettings(database_url=url, **values)


def test_an_app_names_its_settings_in_upper_case_with_a_prefix_and_has_others_beside_them() -> None:
    found = HostSettings.of(
        {"PGCORPUS_COLLECTION": "help", "SECRET_KEY": "x", "PGCORPUS_EXTRA": 1}, "PGCORPUS_", known=["PGCORPUS_EXTRA"]
    )
    assert (found.collection, found.tenant) == ("help", "default")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"PGCORPUS_COLECTION": "help"}, "no setting is called PGCORPUS_COLECTION: did you mean PGCORPUS_COLLECTION?"),
        ({"PGCORPUS_X": 1}, "no setting is called PGCORPUS_X: there are PGCORPUS_DATABASE_URL, "),
        ({"PGCORPUS_TENANT": ""}, "PGCORPUS_TENANT: "),
        ({"PGCORPUS_ENGINE_OPTIONS": "pool_size=5"}, "PGCORPUS_ENGINE_OPTIONS: "),
        ({"PGCORPUS_CACHE": "perhaps"}, "PGCORPUS_CACHE: "),
        ({1: 2, "PGCORPUS_TENANT": 3}, "PGCORPUS_TENANT: "),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        HostSettings.of(values, "PGCORPUS_")
    assert str(refused.value).startswith(said)


def test_a_refused_setting_and_the_settings_themselves_show_no_secret() -> None:
    with pytest.raises(ConfigError) as refused:
        HostSettings.of({"PGCORPUS_OPENAI_API_KEY": ["sk-secret"]}, "PGCORPUS_")
    assert "sk-secret" not in repr(refused.value)
    assert refused.value.__cause__ is None
    shown = repr(HostSettings(openai_api_key="sk-secret", database_url="postgresql://u:hush@h/d"))
    assert "sk-secret" not in shown
    assert "hush" not in shown


def test_eight_threads_that_ask_first_get_one_engine_and_one_embedder(url: URL) -> None:
    made: list[HashEmbedder] = []

    def make() -> HashEmbedder:
        made.append(HashEmbedder())
        return made[-1]

    host = Host(settings(url, embedder=make))
    with ThreadPoolExecutor(8) as pool:
        engines = set(pool.map(lambda _: id(host.engine), range(64)))
        embedders = set(pool.map(lambda _: id(host.embedder), range(64)))
    assert (len(engines), len(embedders), len(made)) == (1, 1, 1)
    host.dispose()


def test_what_is_there_is_had_while_another_thread_loads_a_model(url: URL) -> None:
    """A health endpoint does not wait until the first search has its embedder."""

    waiting: list[bool] = []

    def load() -> HashEmbedder:
        other = threading.Thread(target=lambda: host.engine, daemon=True)
        other.start()
        other.join(5)
        waiting.append(other.is_alive())
        return HashEmbedder()

    host = Host(settings(url, embedder=load))
    assert host.engine is not host.embedder
    assert waiting == [False]


@pytest.mark.parametrize(
    ("values", "used"),
    [
        *[({"embedder": given}, "embedder") for given in (5, b"local", {}, [], [[5]], object(), lambda: None)],
        *[({"chat_model": given}, "chat") for given in (5, object(), lambda: None)],
        ({"engine_options": {"pool_sise": 5}}, "engine"),
    ],
)
def test_what_is_no_model_and_no_option_is_refused_when_it_is_used(values: dict[str, Any], used: str) -> None:
    host = Host(HostSettings(database_url="postgresql://u:hush@h/d", **values))
    with pytest.raises(ConfigError, match=r"the app gave \w+ for a model|pool_sise") as refused:
        getattr(host, used)
    assert "hush" not in str(refused.value)


def test_a_class_is_a_function_that_makes_a_model() -> None:
    assert isinstance(Host(settings(embedder=[HashEmbedder])).embedder[0], HashEmbedder)


def test_the_options_of_the_engine_are_the_apps(url: URL) -> None:
    host = Host(settings(url, engine_options={"pool_size": 2, "statement_timeout": 7.0}))
    with host.engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "7s"
    assert host.engine.pool.size() == 2  # type: ignore[attr-defined]
    host.dispose()


def test_documents_go_into_the_apps_collection_and_are_found_there(url: URL) -> None:
    host = Host(settings(url, collection="help", tenant="acme", embedder=HashEmbedder()))
    with session_factory(host.engine)() as session:
        host.ingestor(session).ingest([source("a.md", "Reset your password")])
        assert [found.document.source for found in host.retriever(session).retrieve("Reset your password")] == ["a.md"]
        assert host.answerer(session, extractive=True, min_score=-1.0).answer("password?").citations
        assert host.repository(session).count() == 1
        assert host.repository(session, "help", "acme").count() == 1
    host.dispose()


def test_the_async_host_does_the_same(url: URL) -> None:
    async def use() -> list[str]:
        target = url.set(drivername="postgresql+psycopg")
        host = AsyncHost(settings(target, collection="help", embedder=HashEmbedder()))
        await host.ingestor(host.engine).ingest([source("a.md", "Reset your password")])
        hits = await host.retriever(host.engine).retrieve("Reset your password")
        await host.dispose()
        return [found.document.source for found in hits]

    assert asyncio.run(use()) == ["a.md"]


def test_a_user_without_a_tenant_does_not_get_the_apps_own(url: URL) -> None:
    host = Host(settings(url, embedder=HashEmbedder()))
    with session_factory(host.engine)() as session:
        for make in (host.repository, host.retriever, host.answerer, host.ingestor):
            with pytest.raises(CollectionError, match="the tenant is None"):
                make(session, tenant=None)  # type: ignore[arg-type]
    host.dispose()


def test_an_app_may_give_several_embedders_while_it_switches(url: URL) -> None:
    old, new = HashEmbedder(), HashEmbedder(32)
    host = Host(settings(url, embedder=[old, lambda: new]))
    assert host.embedder == (old, new)
    with session_factory(host.engine)() as session:
        host.ingestor(session).ingest([source("a.md", "pears")])
        assert host.repository(session).collection().embedding_model == old.model
    host.dispose()


def test_the_apps_key_makes_openai_its_default() -> None:
    host = Host(settings(openai_api_key="sk-apps"))
    assert isinstance(host.embedder, OpenAIEmbedder)
    assert isinstance(host.chat, OpenAIChat)
    assert isinstance(AsyncHost(settings(openai_api_key="sk-apps")).chat, AsyncOpenAIChat)
    assert Host(settings(embedder="local")).chat is None


def test_without_a_url_there_is_no_database() -> None:
    with pytest.raises(ConfigError, match="no database"):
        _ = Host(settings()).engine


@pytest.mark.parametrize(("cache", "kept"), [(None, (0, 1)), (True, (1, 1)), (False, (0, 0))])
def test_an_ingest_in_a_session_takes_no_second_connection_unless_the_app_wants_its_embeddings_kept(
    url: URL, cache: bool | None, kept: tuple[int, int]
) -> None:
    count = text("SELECT count(*) FROM pgcorpus.embedding_cache")
    host = Host(settings(url, embedder=HashEmbedder(), cache=cache))
    with session_factory(host.engine)() as session:
        host.ingestor(session).ingest([source("a.md", "pears")])
    with session_factory(host.engine)() as session:
        in_session = session.scalar(count)
        session.execute(text("DELETE FROM pgcorpus.embedding_cache"))
        session.commit()
    host.ingestor(host.engine).ingest([source("b.md", "apples")])
    with session_factory(host.engine)() as session:
        assert (in_session, session.scalar(count)) == kept
    host.dispose()
