"""The Explorer's pages without a framework: what they show."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import Engine, text

from pgcorpus.errors import EmbeddingError
from pgcorpus.integrations.explorer import Explorer
from pgcorpus.testing import HashEmbedder
from tests.support.explored import EMBEDDER, ODD, everybody, get

# Searching


def test_a_question_is_answered_in_the_order_of_the_fused_score(explorer: Explorer) -> None:
    page = get(explorer, collection="guide", q="apples number7", k=3)
    assert page.status == 200
    assert page.texts("[role=status]") == ["3 results in guide"]
    assert [line[:5] for line in page.texts(".results .figures")] == ["Fused"] * 3
    assert "number7" in page.texts(".results .snippet")[0]
    assert page.texts(".timing")[0].startswith("embed ")


def test_words_are_marked_in_every_form_of_them(explorer: Explorer) -> None:
    page = get(explorer, collection="guide", q="who runs a vacuum over elephants", mode="words", k=1)
    assert page.texts(".empty")  # by words, each of them must be there
    page = get(explorer, collection="guide", q="runs vacuum number7", mode="words", k=1)
    assert page.texts("mark") == ["Running", "vacuuming", "number7"]


def test_a_search_by_meaning_says_how_it_was_answered(explorer: Explorer) -> None:
    page = get(explorer, collection="guide", q="apples", mode="meaning", k=5)
    assert page.texts(".how") == ["Approximate: a vector index serves cosine."]
    where = json.dumps({"meta.serial": {"$in": ["s1", "s2"]}})
    page = get(explorer, collection="guide", q="apples", mode="meaning", where=where)
    assert page.texts(".how") == ["Exact: every document that the filter leaves was compared."]
    assert len(page.texts(".results > li")) == 2


def test_without_a_question_documents_are_listed_page_by_page(explorer: Explorer) -> None:
    page = get(explorer, collection="guide")
    assert page.texts("[role=status]") == ["60 documents in guide"]
    seen = page.texts(".results h2")
    while page.soup.select("[rel=next]"):
        page = get(explorer, *page.link("[rel=next]"))
        seen += page.texts(".results h2")
    assert len(seen) == len(set(seen)) == 60


def test_a_click_on_a_facet_narrows_and_a_chip_widens_again(explorer: Explorer) -> None:
    page = get(explorer, collection="guide", q="apples")
    assert "faq 30 documents" in page.texts(".facets a")
    assert not [each for each in page.texts(".facets h2") if each == "serial"]
    page = get(explorer, *page.link(".facets a", "faq"))
    assert "✓ Remove: faq 30 documents" in page.texts(".facets a")
    assert page.texts(".facets section:first-child a") == ["book0.md 15 documents", "book1.md 15 documents"]
    page = get(explorer, *page.link(".facets a", "book1.md"))
    assert page.texts(".chips a") == ["Remove: kind: faq ✕", "Remove: source: book1.md ✕"]
    assert {"book1.md"} == {each.removeprefix("Follow the source: ") for each in page.texts(".results .from")}
    page = get(explorer, *page.link(".chips a", "kind"))
    assert page.texts(".chips a") == ["Remove: source: book1.md ✕"]
    assert len(page.soup.select("form input[name=is]")) == 1


def test_an_element_of_a_list_and_a_missing_value_are_narrowed_to_what_was_counted(explorer: Explorer) -> None:
    for field, value, count in (("tags", "a", 40), ("tags", "b", 20), ("heading", None, 54), ("year", 2021, 15)):
        page = get(explorer, collection="guide", **{"is": json.dumps([f"meta.{field}", value])})
        assert page.texts("[role=status]") == [f"{count} documents in guide"]


@pytest.mark.parametrize("embedder", [None, HashEmbedder(32), [HashEmbedder(16), HashEmbedder(32)]])
def test_without_an_embedder_that_fits_it_searches_by_words_and_says_so(corpus: Engine, embedder: Any) -> None:
    page = get(Explorer(corpus, embedder, access=everybody), collection="guide", q="number7")
    assert (page.status, len(page.texts(".results > li"))) == (200, 1)
    assert page.texts(".notice") == [
        f"No embedder here is {EMBEDDER.model}, the collection's. These are results by words."
    ]


def test_an_embedder_that_fails_leaves_the_words(corpus: Engine) -> None:
    class Failing(HashEmbedder):
        def embed(self, texts: Any) -> Any:
            raise EmbeddingError(f"the key was refused for {len(texts)} text")

    page = get(Explorer(corpus, Failing(), access=everybody), collection="guide", q="number7")
    assert "the key was refused" in page.texts(".notice")[0]
    assert len(page.texts(".results > li")) == 1


def test_a_model_that_is_switched_meanwhile_leaves_the_words(corpus: Engine) -> None:
    def switch(model: str) -> None:
        named = text("UPDATE pgcorpus.collections SET embedding_model = :model WHERE name = 'guide'")
        with corpus.begin() as connection:
            connection.execute(named, {"model": model})

    class Switching(HashEmbedder):
        def embed(self, texts: Any) -> Any:
            switch("the-next-model")
            return super().embed(texts)

    try:
        page = get(Explorer(corpus, Switching(), access=everybody), collection="guide", q="number7")
    finally:
        switch(EMBEDDER.model)
    assert page.texts(".notice") == ["The collection's embedding model was just switched: these are results by words."]
    assert len(page.texts(".results > li")) == 1


# Browsing


def test_more_like_this_shows_the_document_and_its_neighbours_without_itself(explorer: Explorer) -> None:
    found = get(explorer, collection="guide", q="number20", mode="words")
    page = get(explorer, *found.link(".links a", "More like this"))
    assert page.texts(".subject h2") == ["Chapter 20"]
    assert len(page.texts(".results > li")) == 10
    assert "Chapter 20" not in page.texts(".results h2")


def test_a_source_opens_at_the_passage_and_leads_to_its_beginning_and_its_end(explorer: Explorer) -> None:
    found = get(explorer, collection="guide", q="number50", mode="words")
    page = get(explorer, *found.link("a.source"))
    assert page.texts(".here h2") == ["Chapter 50"]
    at = next(i for i, each in enumerate(page.soup.select(".passages > li")) if "here" in (each.get("class") or ()))
    assert at == 5
    contents = page.texts(".passages .content")
    earlier = get(explorer, *page.link("[rel=prev]"))
    later = page
    while later.soup.select("[rel=next]"):
        later = get(explorer, *later.link("[rel=next]"))
        contents += later.texts(".passages .content")
    contents = earlier.texts(".passages .content") + contents
    assert [int(each.split()[2]) for each in contents] == list(range(30, 60))
    assert not earlier.soup.select("[rel=prev]")


def test_the_last_full_page_leads_to_no_page_with_nothing_on_it(explorer: Explorer) -> None:
    for page in (get(explorer, collection=ODD), get(explorer, "/source", collection=ODD, source="turned\u202e.md")):
        shown, heads = len(page.soup.select(".results > li, .passages > li")), page.texts("main h2")
        last = get(explorer, *page.link("[rel=next]"))
        assert (shown, len(last.soup.select(".results > li, .passages > li"))) == (20, 20)
        assert not last.soup.select("[rel=next]")
        if last.soup.select("[rel=prev]"):
            first = get(explorer, *last.link("[rel=prev]"))
            assert first.texts("main h2") == heads
            assert not first.soup.select("[rel=prev]")


def test_what_was_clicked_is_what_the_form_sends_again(explorer: Explorer) -> None:
    page = get(explorer, collection=ODD)
    assert page.texts(".facets a") == ["y 20 documents", "left\ufffd 20 documents", "\ufffdturned 20 documents"]
    for each in page.soup.select(".facets a"):
        clicked = get(explorer, "/", parse_qsl(urlsplit(str(each["href"])).query))
        fields = clicked.soup.select("form input, form option[selected]")
        sent = [(str(each.get("name") or "collection"), str(each["value"])) for each in fields]
        assert (
            clicked.texts("[role=status]")
            == get(explorer, "/", sent).texts("[role=status]")
            == ["20 documents in odd\ufffdname"]
        )


def test_a_document_is_shown_whole_with_its_neighbours(explorer: Explorer) -> None:
    found = get(explorer, collection="guide", q="number30", mode="words")
    page = get(explorer, *found.link(".links a", "Whole passage"))
    assert page.texts("h1") == ["Chapter 30"]
    assert page.texts(".whole")[0].endswith("apples number30")
    assert '"serial": "s30"' in page.texts("pre.json")[0]
    assert not page.soup.select("[rel=prev]")  # the first of its source
    after = get(explorer, *page.link("[rel=next]"))
    assert after.texts(".whole")[0].endswith("number31")


def test_the_collections_are_listed_with_what_waits_and_the_health_of_the_index(explorer: Explorer) -> None:
    page = get(explorer, "/collections")
    row = page.texts("tbody tr")[0]
    assert row.startswith(f"guide {EMBEDDER.model} cosine english 60 59 1 2 ")
    assert page.texts(".index h3")[0].startswith("ix_documents_embedding valid")
    assert "USING hnsw" in page.texts(".index pre")[0]
    assert any("wait for an embedding" in each for each in page.texts(".findings h3"))


def test_recall_is_drawn_with_the_same_figures_as_a_table(explorer: Explorer) -> None:
    page = get(explorer, "/recall", collection="guide")
    assert len(page.soup.select("svg.plot polyline")) == 2
    assert page.texts(".legend li") == ['filter {"meta.kind": "<faq>"}', "no filter"]
    assert "no filter: 0.900 at 20, 0.970 at 80, 0.995 at 320." in page.texts("svg desc")[0]
    assert len(page.texts("tbody tr")) == 6
    page = get(explorer, "/recall", collection="hostile")
    assert page.texts(".empty") == ["The recall of hostile was not measured yet: pgcorpus tune does it."]


def test_an_empty_database_says_how_to_begin(engine: Engine) -> None:
    explorer = Explorer(engine, EMBEDDER, access=everybody)
    for path in ("/", "/recall", "/collections"):
        assert "pgcorpus ingest PATH" in get(explorer, path).html
