"""One table under comparison: in the database, in the model, and what Alembic has found so far."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ModifyTableOps
from sqlalchemy import Connection, Dialect, Table


@dataclass(frozen=True, slots=True)
class TableComparison:
    """What a comparison works on.

    Attributes:
        context: Alembic's, with the host's filters.
        modify: What has been found, to be completed.
        found: The table as reflected; None if it is new.
        model: The model's table; None if it goes.
    """

    context: AutogenContext
    modify: ModifyTableOps
    schema: str | None
    name: str
    found: Table | None
    model: Table | None

    @property
    def connection(self) -> Connection:
        """The database that is compared."""
        assert self.context.connection is not None  # noqa: S101 -- autogenerate has one
        return self.context.connection

    @property
    def dialect(self) -> Dialect:
        """The database's dialect."""
        assert self.context.dialect is not None  # noqa: S101
        return self.context.dialect
