"""A collector of spans, as OpenTelemetry has it: OTLP over HTTP, kept in memory."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from libs.common.health import serve_http


@dataclass(frozen=True, slots=True)
class Seen:
    """One span that was sent here; ids are hexadecimal, links (trace, span)."""

    service: str
    name: str
    kind: int
    trace: str
    span: str
    parent: str
    links: frozenset[tuple[str, str]]
    attributes: dict[str, Any]

    @property
    def id(self) -> tuple[str, str]:
        return self.trace, self.span


@dataclass
class Collector:
    """What was sent here, in the order in which it came."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = ExportTraceServiceRequest.FromString(body)
        for resource in asked.resource_spans:
            named = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += (_seen(named["service.name"], one) for one in scope.spans)
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    def of(self, service: str, name: str = "") -> list[Seen]:
        """Return the spans of one service whose names begin with *name*."""
        return [
            one
            for one in self.spans
            if one.service == f"bellhop-{service}" and one.name.startswith(name)
        ]


def _seen(service, one):
    return Seen(
        service=service,
        name=one.name,
        kind=one.kind,
        trace=one.trace_id.hex(),
        span=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        links=frozenset(
            (link.trace_id.hex(), link.span_id.hex()) for link in one.links
        ),
        attributes=_plain(one.attributes),
    )


def _plain(attributes):
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes
    }


@asynccontextmanager
async def run_collector() -> AsyncIterator[Collector]:
    """Collect until the block ends."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        collector.url = f"http://127.0.0.1:{port}"
        yield collector
