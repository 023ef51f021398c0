"""Spans by the OpenTelemetry SDK; imported by ``tracing`` alone, when it is on.

Names and attributes are those of OpenTelemetry's conventions for HTTP and messaging.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from libs.common.messages import Delivery, Verdict
from libs.common.version import VERSION

_CLOSE_SECONDS: Final = 2.0
_W3C: Final = TraceContextTextMapPropagator()
_SYSTEM: Final = "messaging.system"
#: OpenTelemetry has no word of its own for it.
_NATS: Final = "nats"


class Spans:
    """Makes spans, and sends them in a thread of its own."""

    def __init__(self, service: str) -> None:
        resource = Resource.create(
            {
                "service.name": f"bellhop-{service}",
                "service.namespace": "bellhop",
                "service.version": VERSION,
            }
        ).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("bellhop", VERSION)

    #: What goes wrong is in the log: a message could have more than a trace may.
    def _current(self, name: str, **more: Any) -> AbstractContextManager[trace.Span]:
        return self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False, **more
        )

    def close(self) -> None:
        """Send what is left, if that does not take long: who stops is waited for."""
        last = Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_CLOSE_SECONDS)

    def here(self) -> str | None:
        """Return the ``traceparent`` of the current span, None if it is not sampled."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid or not context.trace_flags.sampled:
            return None
        return (
            f"00-{context.trace_id:032x}-{context.span_id:016x}"
            f"-{context.trace_flags:02x}"
        )

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str]) -> Iterator[None]:
        """See `tracing.serving`."""
        parent = _W3C.extract({key.lower(): text for key, text in headers.items()})
        with self._current(name, context=parent, kind=SpanKind.SERVER):
            yield

    @contextmanager
    def sending(self, destination: str, links: Collection[str]) -> Iterator[None]:
        """See `tracing.sending`."""
        with self._current(
            f"send {destination}",
            # Of its own trace, whatever else is under way.
            context=Context(),
            kind=SpanKind.PRODUCER,
            links=[_link(one) for one in links],
            attributes={
                _SYSTEM: _NATS,
                "messaging.operation.type": "send",
                "messaging.destination.template": destination,
                "messaging.batch.message_count": len(links),
            },
        ):
            yield

    @contextmanager
    def receiving(self, destination: str, link: str) -> Iterator[None]:
        """See `tracing.receiving`."""
        with self._current(
            f"process {destination}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=[_link(link)],
            attributes={
                _SYSTEM: _NATS,
                "messaging.operation.type": "process",
                "messaging.destination.template": destination,
            },
        ):
            yield

    @contextmanager
    def attempting(
        self, job: Delivery, *, link: str, parent: str | None
    ) -> Iterator[None]:
        """See `tracing.attempting`."""
        # The URL itself may hold a secret: whoever it leads to is enough.
        to = urlsplit(job.url)
        with self._current(
            job.method,
            context=_parent(parent),
            kind=SpanKind.CLIENT,
            links=[_link(link)],
            attributes={
                "http.request.method": job.method,
                "http.request.resend_count": max(job.attempt - 1, 0),
                "server.address": to.hostname or "",
                "server.port": to.port or {"http": 80}.get(to.scheme, 443),
                "bellhop.job.id": job.job_id,
                "bellhop.job.attempt": job.attempt,
            },
        ):
            yield

    def ended(self, verdict: Verdict) -> None:
        """See `tracing.ended`."""
        span = trace.get_current_span()
        if verdict.status is not None:
            span.set_attribute("http.response.status_code", verdict.status)
            if verdict.status >= 400:  # noqa: PLR2004
                span.set_attribute("error.type", str(verdict.status))
                span.set_status(Status(StatusCode.ERROR))
        else:
            span.set_attribute("error.type", "unanswered" if verdict.sent else "unsent")
            span.set_status(Status(StatusCode.ERROR, verdict.error))


def _parent(traceparent: str | None) -> Context:
    return _W3C.extract(
        {} if traceparent is None else {"traceparent": traceparent}, Context()
    )


def _link(traceparent: str) -> Link:
    return Link(trace.get_current_span(_parent(traceparent)).get_span_context())
