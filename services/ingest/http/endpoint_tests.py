"""``/endpoints/{id}/test``: one request at once, as a message would be sent."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
import orjson
from aiohttp import web

from libs.common.db import borrow
from libs.common.envelopes import body_of, headers_of
from libs.common.errors import NotFound
from libs.common.ids import new_id
from libs.common.messages import Delivery
from libs.common.store import receivers
from services.ingest.answers import endpoints as shapes
from services.ingest.http.endpoints import ONE, endpoint_in_path
from services.ingest.http.errors import answer
from services.ingest.http.reading import BUS, POOL, read_bytes, read_optional, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.checking import as_sent
from services.ingest.requests.endpoints import SendTest
from services.ingest.test_sends import send_once

#: How long a test takes at most: somebody waits for the answer.
_TIMEOUT_SECONDS_MAX: Final = 18.0


class _Raw(msgspec.Struct):
    """The payload as it was sent, if one was."""

    payload: msgspec.Raw = msgspec.Raw(b"")


def routes() -> list[Route]:
    """Return the route."""
    return [
        Route(
            method="POST",
            path=f"{ONE}/test",
            handler=test,
            body=SendTest,
            body_optional=True,
            answers={200: shapes.EndpointTest},
        )
    ]


async def test(request: web.Request) -> web.Response:
    """Send one request to an endpoint now, enabled or not: 200, and how it went.

    It is made, signed and guarded like any delivery, but is none: nothing is queued,
    tried again or counted.
    """
    principal = await whoever(request)
    row = await endpoint_in_path(request, principal)
    asked = await read_optional(request, SendTest)
    payload = await _payload(request, row["id"])
    message_id = new_id()
    body = body_of(
        row["format"],
        message_id=message_id,
        event_type=asked.event_type,
        payload=payload,
    ).encode()
    headers = headers_of(
        row["format"],
        message_id=message_id,
        organization_id=principal.organization_id,
        event_type=asked.event_type,
        ordering_key=None,
    )
    async with borrow(request.app[POOL]) as conn:
        found = await receivers.read_receivers(conn, endpoint_ids=[row["id"]])
    if row["id"] not in found:
        raise NotFound("Resource not found")
    endpoint = found[row["id"]]
    verdict = await send_once(
        request.app[BUS],
        job=Delivery(
            job_id=str(message_id),
            webhook_id=str(message_id),
            endpoint_id=str(endpoint.id),
            organization_id=str(principal.organization_id),
            attempt=1,
            url=endpoint.url,
            timeout_seconds=min(endpoint.timeout_seconds, _TIMEOUT_SECONDS_MAX),
            body_bytes=len(body),
            body=msgspec.Raw(body),
            headers=headers,
        ),
        receiver=endpoint.receiver(now=datetime.now(UTC)),
        secrets=[],
    )
    return answer(shapes.tested(verdict))


async def _payload(request: web.Request, endpoint_id: UUID) -> str:
    """Return the payload as it was sent, or one that says that it is a test."""
    body = await read_bytes(request)
    payload = bytes(as_sent(body, _Raw).payload) if body.strip() else b""
    if not payload:
        payload = orjson.dumps({"test": True, "endpoint_id": str(endpoint_id)})
    return payload.decode()
