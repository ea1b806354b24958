"""The program of the page "RAG in twenty lines" runs as it is printed, against a server that speaks OpenAI's API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from pgcorpus.testing import HashEmbedder
from tests.support.openai_server import OpenAIServer, Reply, Request, edited, says, to_base64, truthful

PAGE = (Path(__file__).parents[2] / "docs/rag.md").read_text()
PROGRAM = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


def alike(request: Request) -> Reply:
    """Give texts with the same words vectors that are near each other, as a model does."""

    def replace(data: list[dict[str, Any]]) -> None:
        vectors = HashEmbedder(1536).embed(request.texts)
        for item, vector in zip(data, vectors, strict=True):
            item["embedding"] = to_base64(vector)

    return edited(replace)(request) if request.texts else truthful(request)


def run(url: URL, api: OpenAIServer) -> list[str]:
    environment = os.environ | {
        "PGCORPUS_DATABASE_URL": url.render_as_string(hide_password=False),
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": api.base_url,
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_has_twenty_lines() -> None:
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 20


def test_it_answers_with_a_citation_and_pays_once(empty_url: URL) -> None:
    with OpenAIServer() as api:
        api.usual = alike
        api.chat_script.extend([says("HNSW and IVFFlat [1].")] * 2)
        expected = [
            "HNSW and IVFFlat [1].",
            "1 indexes.md pgvector has two kinds of vector index: HNSW and IVFFlat.",
        ]
        assert run(empty_url, api) == expected
        paid = len(api.texts)
        assert run(empty_url, api) == expected
        assert paid == 4
        assert len(api.texts) == paid + 1, "the question is asked again, and nothing else"
