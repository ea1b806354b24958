"""What a sync class of answering can do, its async twin can do with the same arguments."""

from __future__ import annotations

import inspect

import pytest

from pgcorpus.services.answering import (
    Answerer,
    AnswerStream,
    AsyncAnswerer,
    AsyncAnswerStream,
    AsyncOpenAIChat,
    OpenAIChat,
)
from pgcorpus.services.retrieval import AsyncRetriever, Retriever


def arguments(kind: type) -> dict[str, list[tuple[str, object]]]:
    """Return the arguments and defaults of the public methods."""
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {
        name: [(parameter.name, parameter.default) for parameter in inspect.signature(method).parameters.values()]
        for name, method in methods
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [
        (Retriever, AsyncRetriever),
        (Answerer, AsyncAnswerer),
        (OpenAIChat, AsyncOpenAIChat),
        (AnswerStream, AsyncAnswerStream),
    ],
)
def test_the_async_class_has_the_same_methods_and_arguments(sync: type, asynchronous: type) -> None:
    theirs = arguments(asynchronous)
    theirs.pop("begun", None)  # in place of an __init__ that awaits
    assert arguments(sync) == theirs
