"""What a deployment runs: the schema of pgcorpus, then the app's own, which refers to it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from pgcorpus import schema
from pgcorpus.database import create_engine

engine = create_engine()
schema.upgrade(engine)
engine.dispose()
command.upgrade(Config(Path(__file__).with_name("alembic.ini")), "head")
