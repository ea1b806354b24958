"""Make the app's tables and a user of each of two tenants."""

import asyncio

from app import corpus
from tables import Base, User, hashed


async def main() -> None:
    async with corpus.lifespan():
        async with corpus.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with corpus.sessions.begin() as session:
            await session.merge(User(id=1, name="ann", tenant="acme", token_hash=hashed("ann-secret")))
            await session.merge(User(id=2, name="bob", tenant="globex", token_hash=hashed("bob-secret")))


asyncio.run(main())
