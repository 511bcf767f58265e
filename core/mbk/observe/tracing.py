"""Traces jobs and their phases with the OpenTelemetry API, if it is installed; exporters are the extra ``otel``."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mbk.model.events import CollectionFinished, Event, Notice, PhaseStarted, RetryScheduled
from mbk.model.jobs import Job
from mbk.model.states import JobState


@dataclass(slots=True)
class _Trace:
    """The spans of one attempt: the job's, and one for the current phase of each collection."""

    job: Any
    phases: dict[str, Any] = field(default_factory=dict)


class Tracing:
    """Spans ``mbk.backup``, ``mbk.restore`` … with a child for every phase of every collection."""

    def __init__(self) -> None:
        self._traces: dict[str, _Trace] = {}
        self._tracer: Any = None
        with suppress(ImportError):
            from opentelemetry import trace

            self._tracer = trace.get_tracer("mbk")

    def started(self, job: Job) -> None:
        if self._tracer is None:
            return
        attributes = {"mbk.job.id": job.id, "mbk.backup": job.name, "mbk.attempt": job.attempt}
        span = self._tracer.start_span(f"mbk.{job.kind}", attributes=attributes)
        self._traces[job.id] = _Trace(span)

    def event(self, job: Job, event: Event) -> None:
        traced = self._traces.get(job.id)
        if traced is None:
            return
        match event:
            case PhaseStarted():
                self._close(traced, event.collection)
                if event.phase != "waiting":
                    self._open(traced, event)
            case CollectionFinished():
                self._close(traced, event.collection, error=event.error)
            case RetryScheduled():
                traced.job.add_event("retry", {"what": event.what, "error": event.error})
            case Notice():
                traced.job.add_event("notice", {"code": event.code, "message": event.message})

    def finished(self, job: Job) -> None:
        traced = self._traces.pop(job.id, None)
        if traced is None:
            return
        for collection in [*traced.phases]:
            self._close(traced, collection)
        traced.job.set_attribute("mbk.state", str(job.state))
        traced.job.set_attribute("mbk.bytes", job.progress.bytes)
        if job.state is not JobState.SUCCEEDED:
            _fail(traced.job, job.error.message if job.error else str(job.state))
        traced.job.end()

    def _open(self, traced: _Trace, event: PhaseStarted) -> None:
        from opentelemetry import trace

        context = trace.set_span_in_context(traced.job)
        attributes = {"mbk.collection": event.collection}
        traced.phases[event.collection] = self._tracer.start_span(
            f"mbk.phase.{event.phase}", context=context, attributes=attributes
        )

    def _close(self, traced: _Trace, collection: str, *, error: str | None = None) -> None:
        span = traced.phases.pop(collection, None)
        if span is not None:
            if error:
                _fail(span, error)
            span.end()


def _fail(span: Any, message: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, message))


def export_as_the_environment_says() -> bool:
    """Sets up the exporter if ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector; returns whether it does.

    Raises `MissingDependency`.
    """
    from mbk.errors import MissingDependency
    from mbk.extras import to_install

    if not any(name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in os.environ):
        return False
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # type: ignore[import-not-found, unused-ignore]  # an extra
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise MissingDependency(
            "traces need the OpenTelemetry exporter",
            code="tracing-package-missing",
            requirement=to_install("otel"),
            hint="pip install {requirement}",
        ) from exc
    name = os.environ.get("OTEL_SERVICE_NAME", "mbk")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True
