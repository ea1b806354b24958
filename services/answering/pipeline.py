"""The steps from a question to an answer: retrieve, judge, pack, ask, read what it cites; none of them waits here."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from pgcorpus.config import load_settings
from pgcorpus.errors import ConfigError
from pgcorpus.models import Document
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import Where
from pgcorpus.repositories.search.requests import LARGEST, MAX_HITS, check_number, check_range
from pgcorpus.services.answering import prompting
from pgcorpus.services.answering.answers import UNKNOWN, Answer, Kind, Timings
from pgcorpus.services.answering.chat import Reply, check_reply
from pgcorpus.services.answering.citing import read_citations
from pgcorpus.services.answering.passages import ShownPassage, estimate_tokens, pack
from pgcorpus.services.answering.prompting import GROUNDING, Message, with_previous_question
from pgcorpus.services.answering.quoting import MAX_SENTENCES, as_text, candidates, nearest_sentences
from pgcorpus.services.answering.telling import Teller
from pgcorpus.services.answering.thresholds import is_near_enough
from pgcorpus.services.embedding import check_embeddings
from pgcorpus.services.embedding.telling import embed_call
from pgcorpus.services.retrieval import Retrieval, Retrieved, check_question
from pgcorpus.services.steps import Call, Steps

# The lines around a passage take about fifty tokens, and up to two hundred with a long source and heading.
MIN_BUDGET, MAX_BUDGET = 300, 10_000_000

B = TypeVar("B")
E = TypeVar("E")
C = TypeVar("C")

History: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question with all that its answer needs but the chat model's words.

    Attributes:
        started: When it was asked, in seconds of :func:`time.perf_counter`.
        retrieval: What was found.
        passages: What of it the model is shown.
        messages: What the model is sent.
    """

    started: float
    retrieval: Retrieval
    passages: Sequence[ShownPassage]
    messages: Sequence[Message]

    def answer(self, text: str, kind: Kind, generate: float = 0.0, **more: Any) -> Answer:
        """Return an answer from what was found.

        Args:
            text: Its text.
            kind: Where that comes from.
            generate: Seconds it took to come.
            **more: Attributes of the answer.
        """
        embed, search = self.retrieval.seconds["embed"], self.retrieval.seconds["search"]
        timings = Timings(embed, search, generate, time.perf_counter() - self.started)
        shown = tuple(passage.hit for passage in self.passages)
        return Answer(text, kind, hits=tuple(self.retrieval), passages=shown, timings=timings, **more)


class Answering(Generic[B, E, C]):
    """What the sync and the async answerer share; the arguments are those of :class:`Answerer`."""

    _retrievers: ClassVar[Any]
    _executors: ClassVar[Any]
    _chats: ClassVar[Any]
    _is_async: ClassVar[bool] = False

    def __init__(
        self,
        bind: B,
        embedder: E | Sequence[E],
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        chat: C | None = None,
        extractive: bool = False,
        k: int = 8,
        hybrid: bool = True,
        min_score: float | None = None,
        token_budget: int = 6000,
        history_budget: int = 1500,
        quotes: int = 3,
        prompt: str = GROUNDING,
        count_tokens: Callable[[str], int] = estimate_tokens,
        rewrite: Callable[[str, Sequence[Message]], Any] = with_previous_question,
        model: type[Any] = Document,
        column: str | None = None,
    ) -> None:
        check_range("k", k, 1, MAX_HITS)
        _check_options(token_budget, history_budget, quotes, prompt, min_score)
        self._retriever = self._retrievers(
            bind, embedder, collection, tenant, hybrid=hybrid, model=model, column=column
        )
        self._executor = self._executors(bind)
        self._teller = Teller(collection, tenant)
        self._chat, self._owns_chat = self._chosen(chat, extractive=extractive)
        self._k, self._min_score, self._quotes, self._prompt = k, min_score, quotes, prompt
        self._token_budget, self._history_budget = token_budget, history_budget
        self._count_tokens, self._rewrite = count_tokens, rewrite

    def _chosen(self, chat: Any, *, extractive: bool) -> tuple[Any, bool]:
        """Return the chat model, or None for quotes, and whether it was made here."""
        if chat is not None and extractive:
            raise ConfigError("an extractive answer asks no chat model: give chat or extractive=True, not both")
        if chat is None:
            made = None if extractive or not load_settings().openai_api_key else self._chats()
            return made, made is not None
        if inspect.iscoroutinefunction(chat.complete) is not self._is_async:
            wanted = "an AsyncChat" if self._is_async else "a Chat that is not async"
            raise ConfigError(f"{type(chat).__name__} is of the other kind: give {wanted}")
        return chat, False

    # The steps

    def _answered(self, question: str, k: int | None, where: Where | None, history: History | None) -> Steps[Answer]:
        prepared = yield from self._prepared(question, k, where, history)
        if isinstance(prepared, Answer):
            return prepared
        asked = time.perf_counter()
        with self._teller.failures_told(prepared.started):
            reply = yield Call(self._chat.complete, (prepared.messages,))
            return self._finished(prepared, asked, reply)

    def _prepared(
        self, question: str, k: int | None, where: Where | None, history: History | None
    ) -> Steps[Prepared | Answer]:
        """Return what to ask the model, or the answer where none is to be asked."""
        started = time.perf_counter()
        with self._teller.failures_told(started):
            prepared = yield from self._found(started, question, k, where, history)
        return self._teller.told(prepared) if isinstance(prepared, Answer) else prepared

    def _found(
        self, started: float, question: str, k: int | None, where: Where | None, history: History | None
    ) -> Steps[Prepared | Answer]:
        check_question(question)
        turns = prompting.trim(prompting.check_history(history), self._history_budget, self._count_tokens)
        wanted = (yield Call(self._rewrite, (question, turns))) if turns else question
        retrieval = yield from self._retriever.steps(wanted, self._k if k is None else k, where=where)
        near = retrieval if is_near_enough(retrieval, self._min_score) else ()
        prepared = Prepared(started, retrieval, *self._packed(question, turns, near))
        if not prepared.passages:
            return prepared.answer(UNKNOWN, Kind.UNKNOWN)
        return prepared if self._chat is not None else (yield from self._quoted(prepared))

    def _packed(
        self, question: str, turns: Sequence[Message], hits: Sequence[Retrieved]
    ) -> tuple[list[ShownPassage], list[Message]]:
        """Return what the model is shown, and the messages that show it."""
        texts = [self._prompt, question, *(turn["content"] for turn in turns), *(hit.document.content for hit in hits)]
        boundary = prompting.draw_boundary(texts)
        passages = pack(hits, self._token_budget, lambda one: self._count_tokens(prompting.block(one, boundary)))
        return passages, prompting.build_messages(self._prompt, turns, passages, question, boundary)

    def _quoted(self, prepared: Prepared) -> Steps[Answer]:
        started = time.perf_counter()
        found, retrieval = candidates(prepared.passages), prepared.retrieval
        answer = yield embed_call(retrieval.embedder, [sentence.text for sentence in found])
        vectors = check_embeddings(answer, len(found), len(retrieval.vector))
        quotes = nearest_sentences(found, retrieval.vector, vectors, self._quotes)
        seconds = time.perf_counter() - started
        return prepared.answer(as_text(quotes), Kind.EXTRACTIVE, seconds, citations=quotes)

    def _watched(self, prepared: Prepared) -> Callable[[], AbstractContextManager[None]]:
        """Return what a stream reads its pieces in."""
        return partial(self._teller.failures_told, prepared.started)

    def _finished(self, prepared: Prepared, asked: float, reply: Reply) -> Answer:
        """Return the answer of a model's reply."""
        seconds = time.perf_counter() - asked
        note = check_reply(reply, self._chat.model)
        kind = Kind.UNKNOWN if _is_unknown(reply.text) else Kind.GENERATED
        citations, unknown = read_citations(reply.text, prepared.passages)
        answer = prepared.answer(
            reply.text, kind, seconds, citations=citations, unknown_citations=unknown,
            model=self._chat.model, usage=reply.usage, note=note,
        )  # fmt: skip
        return self._teller.told(answer)


def _check_options(token_budget: int, history_budget: int, quotes: int, prompt: str, min_score: float | None) -> None:
    check_range("token_budget", token_budget, MIN_BUDGET, MAX_BUDGET)
    check_range("history_budget", history_budget, 0, MAX_BUDGET)
    check_range("quotes", quotes, 1, MAX_SENTENCES)
    check_number("min_score", min_score, -LARGEST, LARGEST)
    if not prompt.strip():
        raise ConfigError("the prompt is empty: it must at least ask for citations such as [1]")


def _is_unknown(text: str) -> bool:
    """Say whether the model answered that it does not know, in the words it was asked to use."""
    return _folded(text) == _folded(UNKNOWN)


def _folded(text: str) -> str:
    apostrophe = "\N{RIGHT SINGLE QUOTATION MARK}"
    return " ".join(text.replace(apostrophe, "'").split()).rstrip(".").casefold()
