"""The command line."""

from pgcorpus.cli.main import cli, main

__all__ = ["cli", "main"]
