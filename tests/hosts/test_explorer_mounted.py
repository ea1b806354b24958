"""The Explorer mounted: the host's own rule decides, under any prefix, in Flask, Starlette and FastAPI."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from flask import Blueprint, Flask, abort, redirect
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient

from pgcorpus.errors import ConfigError, MissingExtraError
from pgcorpus.integrations.explorer import Explorer, TokenAccess
from pgcorpus.integrations.explorer.asgi import asgi
from pgcorpus.integrations.explorer.flask import blueprint
from pgcorpus.services.embedding import as_async
from tests.support.explored import EMBEDDER, everybody


class Answer:
    """What both test clients answer, in one form."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status, self.headers, self.text = status, headers, text


Get = Callable[..., Answer]


def flask_get(explorer: Explorer) -> Get:
    app = Flask(__name__)
    app.testing = True  # as Starlette's client does, raise what the app raised
    app.register_blueprint(blueprint(explorer), url_prefix="/corpus")

    def get(path: str, method: str = "GET", cookie: str = "") -> Answer:
        headers = {"Cookie": cookie} if cookie else {}
        answer = app.test_client(use_cookies=False).open(path, method=method, headers=headers)
        return Answer(answer.status_code, answer.headers, answer.text)

    return get


def asgi_get(explorer: Explorer) -> Get:
    app = Starlette(routes=[Mount("/corpus", asgi(explorer))])

    def get(path: str, method: str = "GET", cookie: str = "") -> Answer:
        headers = {"Cookie": cookie} if cookie else {}
        answer = TestClient(app).request(method, path, headers=headers, follow_redirects=False)
        return Answer(answer.status_code, answer.headers, answer.text)

    return get


MOUNTED = pytest.mark.parametrize("mounted", [flask_get, asgi_get])
Mounted = Callable[[Explorer], Get]


@MOUNTED
def test_it_is_the_same_under_its_prefix(corpus: Engine, mounted: Mounted) -> None:
    get = mounted(Explorer(lambda: corpus, EMBEDDER, access=everybody))
    page = get("/corpus/?collection=guide&q=apples")
    assert page.status == 200
    assert 'action="/corpus/"' in page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script" not in page.headers["Content-Security-Policy"]
    assert get("/corpus/collections").status == 200
    assert get("/corpus/nowhere").status == 404
    style = get("/corpus/static/explorer.css")
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert get("/corpus/static/../core.py").status == 404
    assert get("/corpus/", "HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert get("/corpus/", method).status == 405


@MOUNTED
def test_who_is_denied_sees_nothing(corpus: Engine, mounted: Mounted) -> None:
    get = mounted(Explorer(corpus, EMBEDDER, access=lambda _: False, title="secret-title"))
    for path in (
        "/corpus/?q=apples&collection=guide",
        "/corpus/collections",
        "/corpus/nowhere",
        "/corpus/document?id=1",
    ):
        page = get(path)
        assert page.status == 403
        assert not [word for word in ("apples", "guide", "secret-title", "pgcorpus") if word in page.text]
    assert get("/corpus/static/explorer.css").status == 200


@MOUNTED
@pytest.mark.parametrize("answer", [1, "yes", None, Mock(), {"is_staff": True}])
def test_what_is_no_answer_is_an_error_not_a_yes(corpus: Engine, mounted: Mounted, answer: Any) -> None:
    get = mounted(Explorer(corpus, access=lambda _: answer))
    with pytest.raises(ConfigError, match="must return True or False"):
        get("/corpus/")


def test_a_rule_that_is_async_is_awaited_under_asgi_and_an_error_in_flask(corpus: Engine) -> None:
    async def rule(request: Any) -> bool:
        await asyncio.sleep(0)
        return "let-me-in" in str(request.url)

    explorer = Explorer(corpus, access=rule)
    assert asgi_get(explorer)("/corpus/?x=let-me-in").status == 200
    assert asgi_get(explorer)("/corpus/").status == 403
    app = Flask(__name__)
    app.testing = True
    app.register_blueprint(blueprint(explorer))
    with pytest.raises(ConfigError, match="async"):
        app.test_client().get("/?x=let-me-in")


def test_what_a_rule_raises_is_the_hosts_to_answer(corpus: Engine) -> None:
    def in_flask(request: Any) -> bool:
        if "login" in request.args:
            abort(redirect("/login"))
        abort(401)

    app = Flask(__name__)
    app.register_blueprint(blueprint(Explorer(corpus, access=in_flask)))
    assert app.test_client().get("/").status_code == 401
    assert app.test_client().get("/?login").headers["Location"] == "/login"

    class NotLoggedInError(Exception):
        """The host's own."""

    def in_asgi(request: Request) -> bool:
        if "login" in request.query_params:
            raise NotLoggedInError
        raise HTTPException(401)

    fast = FastAPI()
    fast.add_exception_handler(NotLoggedInError, lambda *_: RedirectResponse("/login"))
    fast.mount("/corpus", asgi(Explorer(corpus, access=in_asgi)))
    client = TestClient(fast, follow_redirects=False)
    assert client.get("/corpus/").status_code == 401
    assert client.get("/corpus/?login=1").headers["Location"] == "/login"


def test_the_place_of_mounting_is_in_every_address(corpus: Engine) -> None:
    explorer = Explorer(corpus, EMBEDDER, access=everybody, tenant=_tenant)
    outer = Blueprint("outer", __name__)
    outer.register_blueprint(blueprint(explorer), url_prefix="/<tenant>/explorer")
    app = Flask(__name__)
    app.register_blueprint(outer, url_prefix="/admin")
    page = app.test_client().get("/admin/acme/explorer/", base_url="http://localhost/behind").text
    assert 'href="/behind/admin/acme/explorer/collections?collection=theirs"' in page
    inner = Starlette(routes=[Mount("/a b", asgi(Explorer(corpus, access=everybody)))])
    page = TestClient(inner, root_path="/behind").get("/behind/a b/").text
    assert 'href="/behind/a%20b/collections' in page
    assert 'href="/collections' in TestClient(asgi(Explorer(corpus, access=everybody))).get("/").text


def _tenant(request: Any) -> str:
    return str(request.view_args["tenant"])


# Construction


def test_it_refuses_to_start_open(corpus: Engine) -> None:
    for access in ({}, {"access": None}, {"access": True}):
        with pytest.raises(ConfigError, match="access="):
            Explorer(corpus, EMBEDDER, **access)  # type: ignore[arg-type]


def test_what_cannot_be_used_is_told_when_it_is_made(corpus: Engine) -> None:
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="timeout"):
            Explorer(corpus, access=everybody, timeout=timeout)
    with pytest.raises(ConfigError, match="async"):
        Explorer(corpus, as_async(EMBEDDER), access=everybody)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="list of names"):
        Explorer(corpus, access=everybody, collections="guide")
    for engine in (create_async_engine("postgresql+psycopg://x/y"), "postgresql://x/y"):
        with pytest.raises(ConfigError, match="sync Engine"):
            Explorer(engine, access=everybody)  # type: ignore[arg-type]


def test_without_jinja2_it_names_the_extra() -> None:
    code = "import sys; sys.modules['jinja2'] = None\nfrom pgcorpus.integrations.explorer import Explorer\n"
    code += "from sqlalchemy import create_engine\n"
    code += "Explorer(create_engine('postgresql+psycopg://x/y'), access=bool)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert MissingExtraError.__name__ in run.stderr
    assert "pip install 'pgcorpus[explorer]'" in run.stderr


# A secret link


@MOUNTED
def test_the_secret_link_sets_a_cookie_and_leads_on_without_the_token(corpus: Engine, mounted: Mounted) -> None:
    access = TokenAccess()
    get = mounted(Explorer(corpus, EMBEDDER, access=access))
    assert get("/corpus/").status == 403
    entered = get(f"/corpus/?token={access.token}&q=apples&collection=guide")
    assert (entered.status, entered.headers["Location"]) == (303, "/corpus/?q=apples&collection=guide")
    assert entered.headers["Referrer-Policy"] == "no-referrer"
    assert entered.headers["Cache-Control"] == "no-store"
    cookie = entered.headers["Set-Cookie"]
    assert [part.strip() for part in cookie.split(";")[1:]] == ["Path=/corpus", "HttpOnly", "SameSite=Strict"]
    page = get("/corpus/?q=apples&collection=guide", cookie=cookie.split(";")[0])
    assert page.status == 200
    assert access.token not in page.text + cookie + entered.headers["Location"] + repr(access)


@MOUNTED
def test_a_wrong_token_is_refused_even_with_the_cookie(corpus: Engine, mounted: Mounted) -> None:
    access = TokenAccess("0123456789abcdef")
    get = mounted(Explorer(corpus, access=access))
    cookie = get("/corpus/?token=0123456789abcdef").headers["Set-Cookie"].split(";")[0]
    assert get("/corpus/", cookie=cookie).status == 200
    for wrong in ("token=x", "token=%ff", "token=0123456789abcdef&token=x", "token=0123456789ABCDEF"):
        assert get(f"/corpus/?{wrong}", cookie=cookie).status == 403
    assert get("/corpus/", cookie=cookie[:-1]).status == 403
    assert get("/corpus/", cookie=cookie.replace("=", "=x")).status == 403
    assert get("/corpus/?" + "&".join("x=1" for _ in range(200))).status == 403


def test_no_address_leads_elsewhere_or_adds_to_the_cookie(corpus: Engine) -> None:
    access = TokenAccess()
    explorer = Explorer(corpus, access=access)
    client = TestClient(asgi(explorer), follow_redirects=False)
    for path in ("//elsewhere.example/", "/%2Felsewhere.example/", "///elsewhere.example/"):
        answer = client.get(f"http://testserver{path}?token={access.token}")
        assert answer.headers["Location"] == "/elsewhere.example/"
    app = Flask(__name__)
    app.register_blueprint(blueprint(explorer), url_prefix="/<tenant>/corpus")
    answer = app.test_client().get(f"/a;Domain=x/corpus/?token={access.token}")
    assert answer.headers["Location"] == "/a%3BDomain%3Dx/corpus/"
    assert "; Path=/a%3BDomain%3Dx/corpus; HttpOnly" in answer.headers["Set-Cookie"]


def test_over_https_the_cookie_stays_there(corpus: Engine) -> None:
    access = TokenAccess()
    app = Starlette(routes=[Mount("/corpus", asgi(Explorer(corpus, access=access)))])
    client = TestClient(app, base_url="https://testserver", follow_redirects=False)
    assert client.get(f"/corpus/?token={access.token}").headers["Set-Cookie"].endswith("; Secure")
    with pytest.raises(ConfigError, match="guessed"):
        TokenAccess("short")
    typed = TokenAccess("of my own: 100% & more #1")
    client = TestClient(asgi(Explorer(corpus, access=typed)), follow_redirects=False)
    assert client.get(typed.url("http://testserver")).status_code == 303
    assert TokenAccess().token != TokenAccess().token
