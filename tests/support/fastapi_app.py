"""An app on FastAPI, with an endpoint for each thing that a request can do to a session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from pgcorpus.integrations.fastapi import PgCorpus
from pgcorpus.repositories import AsyncDocumentRepository
from pgcorpus.services.answering import AsyncAnswerer, AsyncOpenAIChat
from pgcorpus.services.ingesting import AsyncIngestor
from pgcorpus.services.retrieval import AsyncRetriever
from pgcorpus.services.sources import documents
from pgcorpus.testing import HashEmbedder

NAME = "the app under test"
POOL: dict[str, Any] = {"pool_size": 3, "max_overflow": 1}


def chat() -> AsyncOpenAIChat:
    return AsyncOpenAIChat("tiny", api_key="none", base_url=os.environ["TINY_BASE_URL"])


corpus = PgCorpus(
    engine_options=POOL | {"connect_args": {"application_name": NAME}}, embedder=HashEmbedder(), chat_model=chat
)


def tenant_of(x_user: Annotated[str, Header()] = "ann@acme") -> str | None:
    """Say who has logged in: ann@acme is of acme, and a user without a tenant comes without one."""
    return x_user.partition("@")[2] or None


mine = corpus.scoped(tenant_of)
app = FastAPI(lifespan=corpus.lifespan)


@app.put("/documents/{name}")
async def store(
    name: str,
    content: str,
    session: Annotated[AsyncSession, Depends(corpus.session)],
    ingestor: Annotated[AsyncIngestor, Depends(mine.ingestor)],
    end: str = "commit",
) -> str:
    await ingestor.ingest(documents([{"source": name, "content": content}]))
    if end == "refuse":
        raise HTTPException(409)
    if end == "fail":
        raise RuntimeError("the endpoint is at fault")
    if end == "commit":
        await session.commit()
    return end


@app.get("/count")
async def count(repository: Annotated[AsyncDocumentRepository, Depends(mine.repository)], ef_search: int = 7) -> int:
    await repository.search([1.0] + [0.0] * 1535, 3, ef_search=ef_search)
    return await repository.count()


@app.get("/search")
async def search(q: str, retriever: Annotated[AsyncRetriever, Depends(mine.retriever)]) -> list[str]:
    return [hit.document.source for hit in await retriever.retrieve(q, 3)]


@app.get("/shared")
async def shared(
    session: Annotated[AsyncSession, Depends(corpus.session)],
    ours: Annotated[AsyncDocumentRepository, Depends(corpus.repository)],
    theirs: Annotated[AsyncDocumentRepository, Depends(mine.repository)],
) -> bool:
    return session is ours._session is theirs._session


@app.get("/ask")
async def ask(q: str, answerer: Annotated[AsyncAnswerer, Depends(mine.answerer)]) -> StreamingResponse:
    stream = await answerer.stream(q)

    async def pieces() -> AsyncIterator[str]:
        async with stream:
            async for piece in stream:
                yield piece

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/slow")
async def slow() -> StreamingResponse:
    async def rows() -> AsyncIterator[str]:
        async with corpus.sessions() as session:
            yield "begun"
            await session.execute(text("SELECT pg_sleep(600)"))

    return StreamingResponse(rows(), media_type="text/plain")


@app.get("/settings")
async def settings() -> list[str]:
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(corpus.engine.connect()) for _ in range(POOL["pool_size"])]
        return [str(await each.scalar(text("SHOW hnsw.ef_search"))) for each in found]


@app.get("/pool")
async def pool() -> int:
    return corpus.engine.pool.checkedout()  # type: ignore[attr-defined, no-any-return]
