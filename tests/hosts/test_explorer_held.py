"""What no input makes of the Explorer's pages, what they may show, and what the server holds them to."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, text

from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import ConfigError, DatabaseError, SearchTimeoutError
from pgcorpus.integrations.explorer import Explorer, PageRequest
from pgcorpus.integrations.explorer.reading import at_most, reading
from pgcorpus.repositories import DocumentRepository, Draft
from tests.support.explored import EMBEDDER, IMAGE, LINK, SCRIPT, Page, everybody, get

# What is hostile


def test_a_hostile_document_is_text_on_every_page(explorer: Explorer) -> None:
    found = get(explorer, collection="hostile", q="hostile words")
    pages = [found, get(explorer, collection="hostile"), get(explorer, "/collections")]
    for css, name in ((".links a", "Whole"), (".links a", "More"), ("a.source", "")):
        pages.append(get(explorer, *found.link(css, name)))
    pages.append(get(explorer, collection="hostile", **{"is": json.dumps(["meta.kind", SCRIPT])}))
    for page in pages:
        assert page.status == 200
        assert not page.soup.select("script, img, [style], [onerror]")
        assert {urlsplit(str(each["href"])).scheme for each in page.soup.select("[href]")} == {""}
        assert "\u202e" not in page.html
    assert SCRIPT in found.soup.select_one("pre").get_text()  # type: ignore[union-attr]
    assert {LINK, IMAGE} <= {each.get_text() for each in found.soup.select("a.source bdi")}


NUL, LONG = "a\0b", "x" * 3_000
INTO = (
    '{"$where": 1}',
    '{"meta.a": {"$eq": 1e999}}',
    "[1]",
    "{",
    '{"a": NaN}',
    "[" * 5_000,
    '{"id": ' + "9" * 5_000 + "}",
)
WRONG: list[tuple[str, dict[str, str], str]] = [
    *[("/", {"k": each}, "k") for each in ("0", "101", "-1", "1.5", "x", "9" * 500, "٣")],
    *[("/", {"q": each}, "q") for each in (NUL, LONG)],
    *[("/", {"where": each}, "where") for each in (*INTO, '{"source": "a\\u0000"}', '{"source": "\\ud800"}')],
    ("/", {"where": json.dumps({"$or": [{"meta.a": i} for i in range(2_000)]})}, "where"),
    ("/", {"where": " " * 20_000 + "{}"}, "where"),
    *[("/", {"is": each}, "where") for each in ("x", "[1]", '["id",1]', '["meta.a.b",1]', '["source",{}]')],
    ("/", {"is": '["meta.",1]'}, "where"),
    ("/", {"mode": "x"}, "mode"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "given", "name"), WRONG, ids=[f"{name}{i}" for i, (_, _, name) in enumerate(WRONG)])
def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(
    explorer: Explorer, path: str, given: dict[str, str], name: str
) -> None:
    page = get(explorer, path, collection="guide", **({"q": "apples"} | given))
    assert page.status == 400
    field = page.soup.select_one(f"[name={name}]")
    assert field is not None
    described = str(field["aria-describedby"]).split()
    assert field["aria-invalid"] == "true"
    assert page.soup.select_one(f"#{described[0]}.error")
    if name in given and "\0" not in given[name]:
        typed = field.get_text() if field.name == "textarea" else field.get("value")
        assert name == "mode" or typed == given[name].strip() or typed == given[name]


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("/nowhere", {}, 404),
        ("/", {"collection": "nope"}, 404),
        ("/", {"collection": "theirs"}, 404),  # another tenant's
        ("/", {"after": "x"}, 400),
        ("/", {"after": "99999999999999999999"}, 400),
        ("/document", {}, 404),
        ("/document", {"id": "0"}, 404),
        ("/document", {"id": "999999"}, 404),
        ("/document", {"id": "1 OR 1=1"}, 400),
        ("/document", {"id": "1", "collection": NUL}, 404),
        ("/like", {"id": "999999"}, 404),
        ("/like", {"id": "1", "k": "x"}, 400),
        ("/like", {"id": "60", "collection": "guide"}, 400),  # it waits for its embedding
        ("/source", {}, 400),
        ("/source", {"source": NUL}, 400),
        ("/source", {"source": LONG}, 400),
        ("/source", {"source": "nope"}, 404),
        ("/source", {"source": "book0.md", "after": "1"}, 400),
        ("/source", {"source": "book0.md", "after": "x.1"}, 400),
        ("/source", {"source": "book0.md", "after": "-9999999999.1"}, 400),
        ("/source", {"source": "book0.md", "before": "2147483647.1"}, 200),
        ("/source", {"source": "book0.md", "at": "x"}, 400),
        ("/recall", {"collection": "nope"}, 404),
    ],
)
def test_an_address_that_was_made_up_is_answered_with_a_page(
    explorer: Explorer, path: str, given: dict[str, str], status: int
) -> None:
    page = get(explorer, path, **({"collection": "guide"} | given))
    assert page.status == status
    assert "Traceback" not in page.html
    assert page.texts("h1")


def test_an_address_with_too_much_in_it_is_refused(explorer: Explorer) -> None:
    for parameters in ([("x", str(i)) for i in range(101)], [("x", "y" * 70_000)]):
        assert get(explorer, "/", parameters).status == 400
    page = PageRequest("/", b"q=%ff%fe&collection=%00\xff")
    assert explorer.answer(page, True).status in (400, 404)


def test_every_answer_forbids_scripts_frames_and_caches(explorer: Explorer) -> None:
    answers = [get(explorer), get(explorer, "/nowhere"), get(explorer, k="x"), get(explorer, "/collections")]
    answers.append(Page(explorer.answer(PageRequest("/", b""), False)))
    for page in answers:
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "script-src" not in policy
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"


# What it may show


def test_only_the_named_collections_and_nothing_of_the_database_are_shown(corpus: Engine) -> None:
    some = Explorer(corpus, EMBEDDER, access=everybody, collections=["guide"])
    assert get(some, collection="hostile").status == 404
    page = get(some, "/collections")
    assert page.texts("tbody th") == ["guide"]
    assert "Health" not in page.texts("h2")
    assert page.texts(".index h3") == ["ix_documents_embedding valid"]
    theirs = Explorer(corpus, access=everybody, tenant=lambda _: "acme")
    assert get(theirs, "/collections").texts("tbody th") == ["theirs"]
    assert get(theirs, collection="guide").status == 404
    with pytest.raises(ConfigError, match="tenant"):
        get(Explorer(corpus, access=everybody, tenant=lambda _: None))  # type: ignore[arg-type, return-value]


def test_a_tenant_is_told_of_its_own_collections_only(corpus: Engine) -> None:
    page = get(Explorer(corpus, access=everybody, tenant="acme"), "/collections")
    assert [each for each in page.texts(".findings dd") if "newest" in each or "tenant" in each] == [
        "1 of the 1 documents of 'theirs' (tenant 'acme')."
    ]
    assert "guide" not in page.html


# The server holds it


def test_nothing_can_be_written_and_the_pool_is_as_before(corpus: Engine) -> None:
    for engine in (corpus, corpus.execution_options(isolation_level="AUTOCOMMIT")):
        with pytest.raises(DatabaseError, match="read-only transaction"), reading(engine, 5) as session:
            session.execute(text("DELETE FROM pgcorpus.documents"))
    with corpus.begin() as connection:
        connection.execute(text("CREATE TABLE afterwards (id int)"))
        connection.execute(text("DROP TABLE afterwards"))
        assert connection.scalar(text("SHOW statement_timeout")) == "0"


def test_a_part_of_a_page_that_takes_too_long_leaves_the_rest_its_time(corpus: Engine) -> None:
    with reading(corpus, 30) as session:
        with pytest.raises(SearchTimeoutError), at_most(session, 0.05):
            session.execute(text("SELECT pg_sleep(20)"))
        with at_most(session, 5):
            assert session.scalar(text("SHOW statement_timeout")) == "5s"
        assert session.scalar(text("SHOW statement_timeout")) == "30s"


def test_a_database_that_keeps_a_page_waiting_is_told_so(corpus: Engine) -> None:
    explorer = Explorer(corpus, EMBEDDER, access=everybody, timeout=0.2)
    with corpus.begin() as holding:
        holding.execute(text("LOCK TABLE pgcorpus.documents IN ACCESS EXCLUSIVE MODE"))
        page = get(explorer, collection="guide", q="apples")
        assert (page.status, page.texts("[role=alert]")) == (503, ["the database took longer than 0.2 seconds"])
        assert page.soup.select_one("#q")["value"] == "apples"  # type: ignore[index]
        assert get(explorer, "/document", collection="guide", id=1).status == 503


def test_facets_that_take_too_long_are_left_out_and_named(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgcorpus.integrations.explorer.narrowing._left", lambda _: 0.05)
    monkeypatch.setattr(
        "pgcorpus.repositories.DocumentRepository.facets",
        lambda self, *_, **__: self._session.execute(text("SELECT pg_sleep(20)")),
    )
    page = get(explorer, collection="guide", q="apples")
    assert page.status == 200
    assert page.texts(".facets .hint") == ["Not counted in time: source, kind, tags, year."]
    assert page.texts(".results > li")


def test_a_connection_that_is_lost_on_the_way_is_told_so(corpus: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    end = text("SELECT pg_terminate_backend(pg_backend_pid())")
    for method in ("figures", "facets"):
        monkeypatch.setattr(
            f"pgcorpus.repositories.DocumentRepository.{method}", lambda self, *_, **__: self._session.execute(end)
        )
    explorer = Explorer(corpus, EMBEDDER, access=everybody)
    page = get(explorer, "/collections")
    assert (page.status, page.texts("[role=alert]")) == (503, ["the connection to the database was lost: try again"])
    assert get(explorer, collection="guide", q="apples").texts(".results > li")
    assert get(explorer, "/document", collection="guide", id=1).status == 200


def test_many_collections_are_counted_in_the_time_of_one(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgcorpus.integrations.explorer.overview.FIGURES_SECONDS", 0.1)
    asked = []
    monkeypatch.setattr(
        "pgcorpus.repositories.DocumentRepository.figures",
        lambda self: asked.append(self) or self._session.execute(text("SELECT pg_sleep(20)")),
    )
    page = get(explorer, "/collections")
    assert page.texts("tbody .quiet[colspan]") == ["too many to count in time"] * 4
    assert len(asked) == 1


def test_a_document_like_a_book_is_cut_and_says_so(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "books").add(Draft("k", "word " * 300_000, source="book"))
    explorer = Explorer(engine, access=everybody)
    for path, length in (("/document", 1_000_000), ("/source", 20_000)):
        page = get(explorer, path, id=1, source="book")
        assert page.status == 200
        assert length <= len(page.html) < length + 5_000
        assert page.texts(".cut")[0].startswith(f"Cut after {length:,} of 1,500,000 characters")


def test_a_database_that_is_away_or_not_migrated_is_a_page_that_names_the_fix(
    empty_engine: Engine, corpus: Engine
) -> None:
    page = get(Explorer(empty_engine, access=everybody))
    assert page.status == 503
    assert "pgcorpus migrate upgrade" in page.html
    away = create_engine(corpus.url.set(host="127.0.0.1", port=1, password="s3cret-word", query={}))
    page = get(Explorer(lambda: away, access=everybody), q="kept")
    assert page.status == 503
    assert "cannot be reached" in page.html
    assert "s3cret-word" not in page.html
    assert dict(page.link(".links a", "Try again")[1]) == {"q": "kept"}
