"""The statements of full-text and hybrid search, as pure functions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Float,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import REGCONFIG, TSQUERY

from pgcorpus.models.fulltext import INDEXED_CHARACTERS, LANGUAGES
from pgcorpus.repositories.hits import VIEW_COLUMNS
from pgcorpus.repositories.search.nearest import DISTANCE, Shape, nearest_keys, unindexed
from pgcorpus.repositories.target import Statement, Target

# ts_rank's normalization 1 divides by 1 + the logarithm of the length (PostgreSQL documentation, "Ranking Search
# Results"): without it long passages win.
_BY_LENGTH: Any = literal_column("1")

_LANGUAGE = cast(bindparam("pgcorpus_language", type_=Text), REGCONFIG)
_TEXT = bindparam("pgcorpus_text", type_=Text)


def configuration(language: str) -> str:
    """Return the text search configuration of a language, the one that the documents of it are indexed with."""
    return language if language in LANGUAGES else "simple"


def text_search(
    target: Target, limit: int, offset: int, snippets: bool, condition: ColumnElement[bool] | None = None
) -> Statement:
    """Return the best matches of a web-search query: a view's columns, the rank, the snippet.

    Fragments are cut for the rows returned only, which takes longer than finding them.
    """
    query = func.websearch_to_tsquery(_LANGUAGE, _TEXT, type_=TSQUERY)
    model = target.model
    columns = [getattr(model, name).label(name) for name in VIEW_COLUMNS]
    rank = _rank(target, query)
    found = (
        _matches(target, [*columns, rank], query, condition)
        .order_by(rank.desc(), model.id)
        .limit(_number(limit))
        .offset(_number(offset))
        .subquery("found")
    )
    options = bindparam("pgcorpus_headline", type_=Text)
    beginning = func.left(found.c.content, _number(INDEXED_CHARACTERS))
    snippet = func.ts_headline(_LANGUAGE, beginning, query, options, type_=Text) if snippets else literal_column("NULL")
    statement: Statement = select(*found.c, snippet.label("snippet")).order_by(found.c.rank.desc(), found.c.id)
    return statement


def snippets(target: Target) -> Statement:
    """Return fragments of rows by their ids, with any of a text's words highlighted: the id, the snippet."""
    model = target.model
    beginning = func.left(model.content, _number(INDEXED_CHARACTERS))
    options = bindparam("pgcorpus_headline", type_=Text)
    snippet = func.ts_headline(_LANGUAGE, beginning, _any_word(), options, type_=Text)
    ids = bindparam("pgcorpus_ids", type_=ARRAY(BigInteger))
    statement: Statement = select(model.id, snippet).where(*target.conditions(), model.id == any_(ids))
    return statement


def hybrid_search(shape: Shape, candidates: int, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return both searches fused.

    The columns are those of a view, score, distance, vector rank, text score, text rank, and how many rows the
    vector's side gave.

    Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): each side gives ``weight / (rrf_k + rank)``. The ranks
    are counted outside each side's LIMIT, which an index can serve.

    Args:
        shape: Its limit and offset are those of the answer.
        candidates: Rows of each side.
        condition: A filter for both sides.
    """
    target = shape.target
    near = _ranked_vectors(shape, candidates, condition)
    texts = _ranked_texts(target, candidates, condition)
    same = and_(*(near.c[key] == texts.c[key] for key in target.keys))
    score = (
        _share("pgcorpus_vector_weight", near.c.vector_rank) + _share("pgcorpus_text_weight", texts.c.text_rank)
    ).label("score")
    keys = [func.coalesce(near.c[key], texts.c[key]).label(key) for key in target.keys]
    fused = (
        select(*keys, score, near.c[DISTANCE], near.c.vector_rank, texts.c.text_score, texts.c.text_rank)
        .select_from(near.outerjoin(texts, same, full=True))
        .order_by(score.desc(), *keys)
        .limit(_number(shape.limit))
        .offset(_number(shape.offset))
        .subquery("fused")
    )
    model = target.model
    same = and_(*(getattr(model, key) == fused.c[key] for key in target.keys), *target.conditions())
    answer = [fused.c[name] for name in ("score", DISTANCE, "vector_rank", "text_score", "text_rank")]
    answer.append(select(func.count()).select_from(near).scalar_subquery().label("found"))
    statement: Statement = select(*(getattr(model, name).label(name) for name in VIEW_COLUMNS), *answer)
    return statement.join(fused, same).order_by(fused.c.score.desc(), *(fused.c[key] for key in target.keys))


def _ranked_vectors(shape: Shape, candidates: int, condition: ColumnElement[bool] | None) -> Any:
    rows = nearest_keys(shape, candidates, condition).subquery("nearest")
    keys = [rows.c[key] for key in shape.target.keys]
    rank = func.row_number().over(order_by=(unindexed(rows.c[DISTANCE]), *keys)).label("vector_rank")
    return select(*keys, rows.c[DISTANCE], rank).cte("vectors")


def _ranked_texts(target: Target, candidates: int, condition: ColumnElement[bool] | None) -> Any:
    """Any of the query's words: all of them are in few passages of a natural question's answer.

    Those that do match it all, in the form of a web search, come first: ts_rank alone puts a passage with one word
    often before one with every word.
    """
    whole = func.websearch_to_tsquery(_LANGUAGE, _TEXT, type_=TSQUERY)
    some = _any_word()
    keys = [getattr(target.model, key).label(key) for key in target.keys]
    tsv = target.model.__table__.c.tsv
    columns = [*keys, _rank(target, some), tsv.op("@@")(whole).label("is_whole")]
    matches = _matches(target, columns, some, condition).subquery("any_word")
    order = (matches.c.is_whole.desc(), matches.c.rank.desc(), *(matches.c[key] for key in target.keys))
    rows = select(*matches.c).order_by(*order).limit(_number(candidates)).subquery("matches")
    order = (rows.c.is_whole.desc(), rows.c.rank.desc(), *(rows.c[key] for key in target.keys))
    rank = func.row_number().over(order_by=order).label("text_rank")
    return select(*(rows.c[key] for key in target.keys), rows.c.rank.label("text_score"), rank).cte("texts")


def _any_word() -> ColumnElement[Any]:
    words = cast(func.plainto_tsquery(_LANGUAGE, _TEXT), Text)
    return cast(func.replace(words, " & ", " | ", type_=Text), TSQUERY)


def _matches(
    target: Target, columns: list[Any], query: ColumnElement[Any], condition: ColumnElement[bool] | None
) -> Any:
    tsv = target.model.__table__.c.tsv
    where = (*target.conditions(checked=True), tsv.op("@@")(query), true() if condition is None else condition)
    statement: Statement = select(*columns).where(*where)
    return statement


def _rank(target: Target, query: ColumnElement[Any]) -> Any:
    return func.ts_rank(target.model.__table__.c.tsv, query, _BY_LENGTH, type_=Float).label("rank")


def _share(weight: str, rank: ColumnElement[int]) -> ColumnElement[float]:
    share = bindparam(weight, type_=Float) / (bindparam("pgcorpus_rrf_k", type_=Float) + rank)
    total: ColumnElement[float] = func.coalesce(share, literal_column("0.0"), type_=Float)
    return total


def _number(value: int) -> Any:
    return literal_column(str(int(value)))
