"""OpenTelemetry is given measurements and spans under the names of its conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import db_attributes, error_attributes
from opentelemetry.semconv.metrics import db_metrics
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Engine

from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionNotFoundError
from pgcorpus.events import AnswerEvent, EmbedEvent, IngestEvent, SearchEvent, emit, is_heard
from pgcorpus.integrations.opentelemetry import instrument
from pgcorpus.repositories import DocumentRepository

VECTOR = np.eye(1, 1536)[0]


@dataclass
class Telemetry:
    """What an app's exporters would get."""

    reader: InMemoryMetricReader
    exporter: InMemorySpanExporter
    tracers: TracerProvider
    uninstrument: Callable[[], None]

    def points(self, metric: str) -> list[Any]:
        """Return the points of a metric."""
        data: Any = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return [
            point
            for scope in scopes
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
        ]

    def spans(self) -> list[Any]:
        """Return the finished spans, and forget them."""
        spans = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return spans


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    uninstrument = instrument(meters, tracers)
    yield Telemetry(reader, exporter, tracers, uninstrument)
    uninstrument()
    meters.shutdown()
    tracers.shutdown()


@pytest.fixture
def documents(engine: Engine) -> Engine:
    """A collection of three documents."""
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "handbook", "acme").add_many(
            [{"content": f"pear {i}", "embedding": vector} for i, vector in enumerate(np.eye(3, 1536))]
        )
    return engine


def test_a_search_is_an_operation_of_a_database_and_a_span(documents: Engine, telemetry: Telemetry) -> None:
    with session_factory(documents)() as session:
        hits = DocumentRepository(session, "handbook", "acme").search(VECTOR, 2)
    (duration,) = telemetry.points(db_metrics.DB_CLIENT_OPERATION_DURATION)
    expected = {
        db_attributes.DB_SYSTEM_NAME: db_attributes.DbSystemNameValues.POSTGRESQL.value,
        db_attributes.DB_OPERATION_NAME: "search",
        db_attributes.DB_COLLECTION_NAME: "handbook",
    }
    assert (duration.count, dict(duration.attributes)) == (1, expected)
    assert duration.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    (rows,) = telemetry.points("pgcorpus.search.rows")
    assert (rows.count, rows.sum) == (1, 2)
    (span,) = telemetry.spans()
    assert (span.name, span.kind, span.status.status_code) == ("search handbook", SpanKind.CLIENT, StatusCode.UNSET)
    assert expected.items() <= dict(span.attributes).items()
    assert (span.attributes["db.response.returned_rows"], span.attributes["pgcorpus.k"]) == (len(hits), 2)
    assert span.end_time - span.start_time == pytest.approx(duration.sum * 1e9, abs=1_000)


def test_a_span_belongs_to_that_of_the_request(documents: Engine, telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("app")
    with tracer.start_as_current_span("GET /search") as request, session_factory(documents)() as session:
        DocumentRepository(session, "handbook", "acme").search(VECTOR)
    search, _ = telemetry.spans()
    assert search.parent.span_id == request.get_span_context().span_id


def test_a_search_that_fails_has_the_class_of_its_error(engine: Engine, telemetry: Telemetry) -> None:
    with session_factory(engine)() as session, pytest.raises(CollectionNotFoundError):
        DocumentRepository(session, "nowhere").search(VECTOR)
    (duration,) = telemetry.points(db_metrics.DB_CLIENT_OPERATION_DURATION)
    assert duration.attributes[error_attributes.ERROR_TYPE] == "CollectionNotFoundError"
    assert telemetry.points("pgcorpus.search.rows") == []
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR


def test_searches_that_the_index_left_incomplete_are_counted(telemetry: Telemetry) -> None:
    for complete in (True, False, False):
        emit(SearchEvent("vector", "handbook", "acme", 10, 10, 0.2, True, True, complete, True, "vector", 160))
    (incomplete,) = telemetry.points("pgcorpus.search.incomplete")
    assert incomplete.value == 2
    assert telemetry.spans()[0].attributes["pgcorpus.ef_search"] == 160


def test_a_write_is_an_operation_too(documents: Engine, telemetry: Telemetry) -> None:
    with session_factory(documents).begin() as session:
        DocumentRepository(session, "handbook", "acme").upsert([{"key": "k", "content": "plum"}])
    (duration,) = telemetry.points(db_metrics.DB_CLIENT_OPERATION_DURATION)
    assert duration.attributes[db_attributes.DB_OPERATION_NAME] == "upsert"
    assert [(point.value, point.attributes[db_attributes.DB_OPERATION_NAME]) for point in written(telemetry)] == [
        (1, "upsert")
    ]


def written(telemetry: Telemetry) -> list[Any]:
    return telemetry.points("pgcorpus.write.rows")


def test_an_embedding_is_a_call_of_a_model_with_its_tokens(telemetry: Telemetry) -> None:
    emit(EmbedEvent("text-embedding-3-small", 10, 120, 1, 4, 0.5))
    emit(EmbedEvent("text-embedding-3-small", 4, None, 0, 4, 0.01))
    (tokens,) = telemetry.points(gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE)
    expected = {
        gen_ai_attributes.GEN_AI_OPERATION_NAME: gen_ai_attributes.GenAiOperationNameValues.EMBEDDINGS.value,
        gen_ai_attributes.GEN_AI_PROVIDER_NAME: "openai",
        gen_ai_attributes.GEN_AI_REQUEST_MODEL: "text-embedding-3-small",
        gen_ai_attributes.GEN_AI_TOKEN_TYPE: gen_ai_attributes.GenAiTokenTypeValues.INPUT.value,
    }
    assert (tokens.sum, dict(tokens.attributes)) == (120, expected)
    (duration,) = telemetry.points(gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION)
    assert (duration.count, duration.sum) == (1, 0.5)  # what the cache had is no call of a model
    texts = telemetry.points("pgcorpus.embed.texts")
    assert sum(point.value for point in texts if point.attributes["pgcorpus.cached"]) == 8
    assert sum(point.value for point in texts if not point.attributes["pgcorpus.cached"]) == 6


def test_an_ingest_and_an_answer_have_their_own(telemetry: Telemetry) -> None:
    emit(IngestEvent("handbook", "acme", sources=2, added=5, unchanged=3, seconds=4.0))
    emit(AnswerEvent("handbook", "acme", "generated", "gpt", 8, 6, 2, 0, 100, 20, 3.0, 0.1, 0.2, 2.5))
    changes = telemetry.points("pgcorpus.ingest.documents")
    by_change = {point.attributes["pgcorpus.change"]: point.value for point in changes}
    assert by_change == {"added": 5, "updated": 0, "unchanged": 3, "deleted": 0}
    (answered,) = telemetry.points("pgcorpus.answer.duration")
    assert (answered.sum, answered.attributes["pgcorpus.answer.kind"]) == (3.0, "generated")
    (asked,) = telemetry.points(gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION)
    assert (asked.sum, asked.attributes[gen_ai_attributes.GEN_AI_OPERATION_NAME]) == (2.5, "chat")
    tokens = telemetry.points(gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE)
    assert {point.attributes[gen_ai_attributes.GEN_AI_TOKEN_TYPE]: point.sum for point in tokens} == {
        "input": 100,
        "output": 20,
    }
    assert [(span.name, span.kind) for span in telemetry.spans()] == [
        ("ingest handbook", SpanKind.INTERNAL),
        ("answer handbook", SpanKind.INTERNAL),
    ]


def test_no_attribute_names_a_tenant(documents: Engine, telemetry: Telemetry) -> None:
    with session_factory(documents)() as session:
        DocumentRepository(session, "handbook", "acme").search(VECTOR)
    assert "acme" not in repr([dict(span.attributes) for span in telemetry.spans()])


def test_after_its_end_nothing_is_measured(telemetry: Telemetry) -> None:
    telemetry.uninstrument()
    emit(EmbedEvent("m", 1))
    assert not is_heard(EmbedEvent)
    assert (telemetry.spans(), telemetry.points("pgcorpus.embed.texts")) == ([], [])
