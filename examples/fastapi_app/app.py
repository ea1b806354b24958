"""A help centre: each tenant's articles, found by meaning and quoted in answers."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from tables import Article, User, hashed

from pgcorpus.errors import CollectionNotFoundError, SearchError
from pgcorpus.integrations.fastapi import PgCorpus
from pgcorpus.repositories import AsyncDocumentRepository
from pgcorpus.services.answering import AsyncAnswerer
from pgcorpus.services.ingesting import AsyncIngestor
from pgcorpus.services.retrieval import AsyncRetriever
from pgcorpus.services.sources import documents

corpus = PgCorpus(collection="help", embedder="local")  # the database is PGCORPUS_DATABASE_URL
app = FastAPI(title="Help centre", lifespan=corpus.lifespan)


async def current_user(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> User:
    # A session of its own: that of the request would keep its connection while an answer is streamed.
    async with corpus.sessions() as session:
        user = await session.scalar(select(User).where(User.token_hash == hashed(bearer.credentials)))
    if user is None:
        raise HTTPException(401, "no such token", {"WWW-Authenticate": "Bearer"})
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def tenant(user: CurrentUser) -> str:
    return user.tenant


mine = corpus.scoped(tenant)
Session = Annotated[AsyncSession, Depends(corpus.session)]
Repository = Annotated[AsyncDocumentRepository, Depends(mine.repository)]
Retriever = Annotated[AsyncRetriever, Depends(mine.retriever)]
Answerer = Annotated[AsyncAnswerer, Depends(mine.answerer)]
Ingestor = Annotated[AsyncIngestor, Depends(mine.ingestor)]
Slug = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,80}$")]


class Text(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=100_000)
    topic: str = "general"


@app.put("/articles/{slug}", status_code=204)
async def store(slug: Slug, text: Text, user: CurrentUser, session: Session, ingestor: Ingestor) -> None:
    await session.merge(Article(tenant=user.tenant, slug=slug, title=text.title, author_id=user.id))
    passages = {"source": slug, "content": text.text, "metadata": {"title": text.title, "topic": text.topic}}
    await ingestor.ingest(documents([passages], format="markdown"))
    await session.commit()  # the article and its passages, or neither


@app.delete("/articles/{slug}", status_code=204)
async def delete(slug: Slug, user: CurrentUser, session: Session, repository: Repository) -> None:
    article = await session.get(Article, (user.tenant, slug))
    if article is None:
        raise HTTPException(404, "no such article")
    await session.delete(article)
    await repository.delete_sources([slug])
    await session.commit()


@app.get("/search")
async def search(
    q: str,
    retriever: Retriever,
    k: Annotated[int, Query(ge=1, le=50)] = 5,
    topic: str | None = None,
) -> list[dict[str, Any]]:
    where = {"meta.topic": topic} if topic else None
    hits = await retriever.retrieve(q, k, where=where, hybrid=True)
    return [
        {"article": hit.document.source, "title": hit.document.meta["title"], "passage": hit.document.content}
        for hit in hits
    ]


@app.get("/answer")
async def answer(q: str, answerer: Answerer) -> StreamingResponse:
    stream = await answerer.stream(q)  # what is wrong with the question is told here, before the first word

    async def pieces() -> AsyncIterator[str]:
        async with stream:
            async for piece in stream:
                yield piece
            for citation in stream.answer.citations:
                yield f"\n[{citation.number}] {citation.source}"

    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8")


@app.exception_handler(SearchError)
async def cannot_be_asked(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(CollectionNotFoundError)
async def nothing_yet(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "there are no articles yet"}, 404)
