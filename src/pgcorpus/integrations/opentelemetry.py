"""What pgcorpus does as metrics and spans of OpenTelemetry.

::

    from pgcorpus.integrations.opentelemetry import instrument

    instrument()

Names are those of OpenTelemetry's conventions where there are any ("Semantic conventions for database client metrics",
stable, and "... for generative AI metrics", in development), else they begin with ``pgcorpus``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from pgcorpus.errors import MissingExtraError
from pgcorpus.events import (
    AnswerEvent,
    EmbedEvent,
    Event,
    IngestEvent,
    SearchEvent,
    WriteEvent,
    subscribe,
)

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ModuleNotFoundError as exc:
    raise MissingExtraError("opentelemetry", "pgcorpus.integrations.opentelemetry") from exc

# The boundaries that the conventions ask for.
SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
MODEL_SECONDS = tuple(0.01 * 2**power for power in range(14))
TOKENS = tuple(4**power for power in range(14))
# Our own: an ingest takes seconds to hours, and a search returns a page.
LONG_SECONDS = (0.1, 1, 10, 60, 300, 1_800, 7_200, 36_000)
ROWS = (0, 1, 5, 10, 20, 50, 100, 500, 1_000, 10_000)

_OPERATIONS = {"vector": "search", "hybrid": "search_hybrid", "text": "search_text", "many": "search_many"}

_PER_SECOND = 1_000_000_000

Attributes = Mapping[str, str | bool | int | float]


def instrument(
    meter_provider: metrics.MeterProvider | None = None, tracer_provider: trace.TracerProvider | None = None
) -> Callable[[], None]:
    """Give OpenTelemetry all that happens from now on, and return what ends that.

    Call it once for a process. A span is made when its work has ended, under the span that is current then: those of
    one answer stand side by side. No attribute holds a text, a query or a tenant.

    Args:
        meter_provider: By default the global one.
        tracer_provider: By default the global one.
    """
    ours = version("pgcorpus")
    meter = metrics.get_meter("pgcorpus", ours, meter_provider)
    tracer = trace.get_tracer("pgcorpus", ours, tracer_provider)
    return subscribe(_Instruments(meter, tracer).tell)


class _Instruments:
    """The instruments of one meter, and what each kind of event does to them."""

    def __init__(self, meter: metrics.Meter, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        histogram, counter = meter.create_histogram, meter.create_counter
        self._operations = histogram(
            "db.client.operation.duration", "s", "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._rows = histogram(
            "pgcorpus.search.rows", "{row}", "Rows a search returned.", explicit_bucket_boundaries_advisory=ROWS
        )
        self._incomplete = counter(
            "pgcorpus.search.incomplete", "{search}", "Searches to which their index gave too few rows."
        )
        self._written = counter("pgcorpus.write.rows", "{row}", "Documents inserted, updated or deleted.")
        self._model_calls = histogram(
            "gen_ai.client.operation.duration", "s", "Duration of calls of models.",
            explicit_bucket_boundaries_advisory=MODEL_SECONDS,
        )  # fmt: skip
        self._tokens = histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens that models were sent and wrote.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )  # fmt: skip
        self._texts = counter("pgcorpus.embed.texts", "{text}", "Texts that were embedded.")
        self._ingests = histogram(
            "pgcorpus.ingest.duration", "s", "Duration of ingests.", explicit_bucket_boundaries_advisory=LONG_SECONDS
        )
        self._changes = counter("pgcorpus.ingest.documents", "{document}", "Documents that ingests looked at.")
        self._answers = histogram(
            "pgcorpus.answer.duration", "s", "Duration of answers, from the question to the last word.",
            explicit_bucket_boundaries_advisory=MODEL_SECONDS,
        )  # fmt: skip
        self._by_kind: dict[type[Any], Callable[[Any], None]] = {
            SearchEvent: self._search,
            WriteEvent: self._write,
            EmbedEvent: self._embed,
            IngestEvent: self._ingest,
            AnswerEvent: self._answer,
        }

    def tell(self, event: Event) -> None:
        self._by_kind[type(event)](event)

    def _search(self, event: SearchEvent) -> None:
        operation = _OPERATIONS[event.kind]
        common = _database(operation, event.collection, event.error)
        self._operations.record(event.seconds, common)
        if event.error is None:
            self._rows.record(event.rows, common)
        if not event.complete:
            self._incomplete.add(1, common)
        figures = {
            "db.response.returned_rows": event.rows,
            "pgcorpus.k": event.k,
            "pgcorpus.filtered": event.filtered,
            "pgcorpus.exact": event.exact,
            "pgcorpus.complete": event.complete,
            "pgcorpus.indexed": event.indexed,
            "pgcorpus.form": event.form,
            "pgcorpus.ef_search": event.ef_search,
            "pgcorpus.recall": event.recall,
        }
        self._span(f"{operation} {event.collection or ''}", SpanKind.CLIENT, event, common, figures)

    def _write(self, event: WriteEvent) -> None:
        common = _database(event.operation, event.collection, event.error)
        self._operations.record(event.seconds, common)
        self._written.add(event.rows, common)
        self._span(
            f"{event.operation} {event.collection}", SpanKind.CLIENT, event, common, {"pgcorpus.rows": event.rows}
        )

    def _embed(self, event: EmbedEvent) -> None:
        common = _model("embeddings", event.model, event.error, provider="openai" if event.requests else None)
        asked = event.texts - event.cached
        if asked or event.error:
            self._model_calls.record(event.seconds, common)
        self._count_tokens("input", event.tokens, common)
        if event.error is None:
            for number, cached in ((asked, False), (event.cached, True)):
                self._texts.add(number, {**common, "pgcorpus.cached": cached})
        figures = {
            "gen_ai.usage.input_tokens": event.tokens,
            "pgcorpus.texts": event.texts,
            "pgcorpus.cached": event.cached,
            "pgcorpus.requests": event.requests,
        }
        self._span(f"embeddings {event.model}", SpanKind.CLIENT, event, common, figures)

    def _ingest(self, event: IngestEvent) -> None:
        common = _ours(event, {"pgcorpus.dry_run": event.dry_run})
        self._ingests.record(event.seconds, common)
        changes = {name: getattr(event, name) for name in ("added", "updated", "unchanged", "deleted")}
        for change, number in changes.items():
            self._changes.add(number, {**common, "pgcorpus.change": change})
        seconds = {f"pgcorpus.{part}_seconds": getattr(event, f"{part}_seconds") for part in _PARTS}
        figures = {
            "pgcorpus.sources": event.sources,
            **{f"pgcorpus.{name}": n for name, n in changes.items()},
            **seconds,
        }
        self._span(f"ingest {event.collection}", SpanKind.INTERNAL, event, common, figures)

    def _answer(self, event: AnswerEvent) -> None:
        common = _ours(event, {"pgcorpus.answer.kind": event.kind})
        self._answers.record(event.seconds, common)
        if event.model is not None:
            model = _model("chat", event.model, event.error)
            self._model_calls.record(event.generate_seconds, model)
            self._count_tokens("input", event.prompt_tokens, model)
            self._count_tokens("output", event.completion_tokens, model)
        figures = {
            "gen_ai.request.model": event.model,
            "gen_ai.usage.input_tokens": event.prompt_tokens,
            "gen_ai.usage.output_tokens": event.completion_tokens,
            "pgcorpus.hits": event.hits,
            "pgcorpus.passages": event.passages,
            "pgcorpus.citations": event.citations,
            "pgcorpus.unknown_citations": event.unknown_citations,
        }
        self._span(f"answer {event.collection}", SpanKind.INTERNAL, event, common, figures)

    def _count_tokens(self, kind: str, number: int | None, common: Attributes) -> None:
        if number is not None:
            self._tokens.record(number, {**common, "gen_ai.token.type": kind})

    def _span(self, name: str, kind: SpanKind, event: Event, common: Attributes, figures: Mapping[str, Any]) -> None:
        """Make the span of what has just ended."""
        ended = time.time_ns()
        attributes = {**common, **_known(figures)}
        begun = ended - round(event.seconds * _PER_SECOND)
        span = self._tracer.start_span(name.strip(), kind=kind, attributes=attributes, start_time=begun)
        if event.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


_PARTS = ("read", "embed", "write", "index")


def _database(operation: str, collection: str | None, error: str | None) -> Attributes:
    return _known(
        {
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.collection.name": collection,
            "error.type": error,
        }
    )


def _model(operation: str, model: str, error: str | None, *, provider: str | None = None) -> Attributes:
    """Attributes of a call of a model; requests are counted of those that speak OpenAI's protocol."""
    return _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider or "_OTHER",
            "gen_ai.request.model": model,
            "error.type": error,
        }
    )


def _ours(event: IngestEvent | AnswerEvent, more: Mapping[str, Any]) -> Attributes:
    return _known({"pgcorpus.collection": event.collection, "error.type": event.error, **more})


def _known(attributes: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
