"""An app on FastAPI, served by uvicorn: what its requests store, share, leave behind and stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from pgcorpus.tuning import SEARCH_DEFAULTS
from tests.support.fastapi_app import NAME, POOL, app
from tests.support.openai_server import OpenAIServer, Reply, Request, says
from tests.support.serving import serve_asgi
from tests.support.waiting import wait_until


class Served:
    """The app, the database it works on, and the model it asks."""

    def __init__(self, address: str, engine: Engine, api: OpenAIServer) -> None:
        # uvicorn closes a connection on which an endpoint has failed, and the next request would meet that.
        self.client = httpx.Client(base_url=address, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
        self.engine = engine
        self.api = api

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, name: str, content: str, end: str = "commit", user: str = "ann@acme") -> int:
        parameters = {"content": content, "end": end}
        return self.client.put(f"/documents/{name}", params=parameters, headers={"x-user": user}).status_code

    def stored(self, source: str) -> int:
        return self.ask("SELECT count(*) FROM pgcorpus.documents WHERE source = :it", source)[0]

    def busy(self) -> list[Any]:
        """Return the statements and transactions that the app has open."""
        return self.ask("SELECT query FROM pg_stat_activity WHERE application_name = :it AND state <> 'idle'", NAME)

    def connections(self) -> int:
        return self.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = :it", NAME)[0]

    def is_at_rest(self) -> None:
        """Wait until every connection is in the pool: a request ends a moment after its client has the answer."""
        wait_until(lambda: self.get("/pool") == 0 and not self.busy(), 20)

    def ask(self, sql: str, it: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.scalars(text(sql), {"it": it}))


def without_driver(url: URL) -> str:
    """Return what an environment says: psycopg 3 is the async one, whatever the other tests run on."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def served(make_database: Callable[..., URL], template: str) -> Iterator[Served]:
    url = make_database(template)
    engine = create_engine(url)
    with OpenAIServer() as api, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGCORPUS_DATABASE_URL", without_driver(url))
        environment.setenv("TINY_BASE_URL", api.base_url)
        with serve_asgi(app) as address:
            served = Served(address, engine, api)
            yield served
            served.client.close()
        wait_until(lambda: served.connections() == 0, 20)  # the app has ended, and its connections with it
    engine.dispose()


@pytest.mark.parametrize(
    ("end", "status", "stored"), [("commit", 200, 1), ("forget", 200, 0), ("refuse", 409, 0), ("fail", 500, 0)]
)
def test_only_a_request_that_commits_leaves_a_document(served: Served, end: str, status: int, stored: int) -> None:
    assert served.put(end, "the text of a document", end) == status
    assert served.stored(end) == stored
    served.is_at_rest()


def test_the_dependencies_of_a_request_have_one_session(served: Served) -> None:
    assert served.get("/shared") is True


def test_a_user_sees_the_documents_of_their_tenant_only(served: Served) -> None:
    served.put("ours", "pears and plums", user="ann@acme")
    served.put("theirs", "pears and plums", user="bob@globex")
    found = [served.client.get("/search", params={"q": "pears"}, headers={"x-user": u}) for u in ("a@acme", "b@globex")]
    assert [answer.json()[0] for answer in found] == ["ours", "theirs"]
    assert "theirs" not in found[0].json()
    nobody = served.client.get("/search", params={"q": "pears"}, headers={"x-user": "ann"})
    assert nobody.status_code == 500, "not the default tenant's documents"


def test_requests_leave_no_connection_and_no_setting_behind(served: Served) -> None:
    """200 requests, 8 at a time: searches with settings of their own, writes, refusals and faults."""

    def request(number: int) -> int:
        match number % 4:
            case 0:
                return served.put(f"many {number}", f"text {number}")
            case 1:
                return served.put(f"many {number}", f"text {number}", "fail" if number % 8 == 1 else "refuse")
            case 2:
                return served.client.get("/count", params={"ef_search": 1 + number}).status_code
            case _:
                return served.client.get("/search", params={"q": f"text {number}"}).status_code

    served.put("first", "the collection is there")
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(request, range(200)))
    assert sorted(set(statuses)) == [200, 409, 500]
    assert statuses.count(200) == 150
    assert served.stored("many 4") == 1
    served.is_at_rest()
    wait_until(lambda: served.connections() <= POOL["pool_size"], 20)
    assert served.get("/settings") == [SEARCH_DEFAULTS["hnsw.ef_search"]] * POOL["pool_size"]


def test_a_client_that_leaves_gives_the_connection_back(served: Served) -> None:
    with served.client.stream("GET", "/slow") as answer:
        pieces = answer.iter_text()  # kept: forgetting it would close the connection
        assert next(pieces) == "begun"
        wait_until(lambda: any("pg_sleep" in query for query in served.busy()))
        assert served.get("/pool") == 1
    served.is_at_rest()


def test_an_answer_that_is_streamed_holds_no_connection(served: Served) -> None:
    go_on = Event()

    def pausing(request: Request) -> Reply:
        whole: Any = says("It is in the handbook [1].")(request)
        events = list(whole.body)

        def body() -> Iterator[object]:
            yield from events[:3]
            go_on.wait(30)
            yield from events[3:]

        return whole._replace(body=body())

    served.put("handbook", "where is it said")
    served.api.chat_script.append(pausing)
    with served.client.stream("GET", "/ask", params={"q": "where is it said"}) as answer:
        pieces = answer.iter_text()
        assert next(pieces).startswith("It")
        assert served.get("/pool") == 0
        assert served.busy() == []
        go_on.set()
        assert "".join(pieces).endswith("the handbook [1].")
