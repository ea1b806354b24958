"""A small corpus with hostile documents in it for the tests of the Explorer, and its pages without a framework."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from bs4 import BeautifulSoup, Tag
from sqlalchemy import Engine

from pgcorpus.database import session_factory
from pgcorpus.integrations.explorer import Explorer, PageRequest, PageResponse
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.embedding import pad
from pgcorpus.testing import HashEmbedder

EMBEDDER = HashEmbedder()
SCRIPT = "<script>window.hit = 1</script>"
ODD = "odd\u202ename"
IMAGE = '"><img src=x onerror="window.hit = 2">'
LINK = "javascript:window.hit=3"
TURNED = "\u202eturned"

INDEX = "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)"


def everybody(request: object) -> bool:
    """Let everybody in."""
    return True


class Page:
    """An answer, parsed."""

    def __init__(self, response: PageResponse) -> None:
        self.status = response.status
        self.headers = response.all_headers()
        self.html = response.body.decode()
        self.soup = BeautifulSoup(self.html, "html.parser")

    def texts(self, css: str) -> list[str]:
        return [" ".join(each.get_text().split()) for each in self.soup.select(css)]

    def link(self, css: str, containing: str = "") -> tuple[str, list[tuple[str, str]]]:
        """The path and the parameters of the first link that a selector finds."""
        found: Tag = next(each for each in self.soup.select(css) if containing in each.get_text())
        parts = urlsplit(str(found["href"]))
        return parts.path, parse_qsl(parts.query)


def get(explorer: Explorer, path: str = "/", parameters: Any = (), **more: Any) -> Page:
    """Return a page, asked for without a framework."""
    query = urlencode([*parameters, *more.items()]).encode()
    page = PageRequest(path, query)
    return Page(explorer.answer(page, explorer.admits(page)))


def fill(engine: Engine) -> None:
    """Store the collections: a guide, those with hostile and odd texts, one of another model, and another tenant's."""
    with session_factory(engine)() as session:
        guide = DocumentRepository(session, "guide", embedding_model=EMBEDDER.model)
        guide.add_many([_draft(i) for i in range(60)])
        hostile = DocumentRepository(session, "hostile", embedding_model=EMBEDDER.model)
        hostile.add_many(_hostile())
        other = DocumentRepository(session, "other model", embedding_model="some-other-model")
        other.add(Draft("k", "Pears of another model", embedding=pad(EMBEDDER.embed(["x"]))[0]))
        DocumentRepository(session, ODD).add_many([_odd(i) for i in range(40)])
        theirs = DocumentRepository(session, "theirs", "acme", embedding_model=EMBEDDER.model)
        theirs.add(Draft("k", "What only acme may read"))
        _calibrate(session, guide.collection().id)
        session.commit()


def _draft(i: int) -> Draft:
    content = f"Running chapter {i} tells of vacuuming tables and of apples number{i}"
    meta = {"kind": ["faq", "note"][i % 2], "year": 2020 + i % 4, "tags": ["a", "b"][: i % 3], "serial": f"s{i}"}
    if i % 10 == 0:
        meta["heading"] = f"Chapter {i}"
    embedding = None if i == 59 else pad(EMBEDDER.embed([content]))[0]
    return Draft(f"k{i}", content, source=f"book{i // 30}.md", position=i, meta=meta, embedding=embedding)


def _odd(i: int) -> Draft:
    """Two full pages with positions on both sides of zero, and values that are not shown as they are."""
    meta = {"turn": [TURNED, "left\r"][i % 2], "long": ["x" * 3_000, "y"][i % 2]}
    return Draft(f"k{i}", f"passage {i - 20}", source="turned\u202e.md", position=i - 20, meta=meta)


def _hostile() -> list[Draft]:
    contents = [f"hostile {SCRIPT} words {TURNED}", f"hostile {IMAGE} words", "hostile " + "unbroken" * 200]
    meta = {"kind": SCRIPT, IMAGE: "x", "heading": IMAGE, "deep": {"list": [SCRIPT]}, "a.b": 1, "": 2}
    vectors = pad(EMBEDDER.embed(contents))
    return [
        Draft(f"k{i}", content, source=[LINK, IMAGE, "w" * 500][i], position=i, meta=meta, embedding=vectors[i])
        for i, content in enumerate(contents)
    ]


def _calibrate(session: object, collection_id: int) -> None:
    points = [
        {
            "ef_search": ef,
            "recall": recall - less,
            "p50_ms": ef / 50,
            "p95_ms": ef / 20,
            "scanned": float(ef),
            "filter": where,
        }
        for where, less in ((None, 0.0), ({"meta.kind": "<faq>"}, 0.05))
        for ef, recall in ((20, 0.9), (80, 0.97), (320, 0.995))
    ]
    calibrations = Calibrations(session)  # type: ignore[arg-type]
    calibrations.save(collection_id, points, index_definition=INDEX, documents=60, k=10)  # type: ignore[arg-type]
