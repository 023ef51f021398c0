"""``/messages``: sent once, to every endpoint that asks for them."""

from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.ids import parse_id
from libs.common.store import messages as store
from services.ingest.answers import messages as shapes
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    MESSAGES,
    POOL,
    id_in_path,
    moment,
    plain,
    read_json,
    understood,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.idempotency import (
    HEADER,
    fingerprint_of,
    key_in_header,
    reused,
)
from services.ingest.planning import WantedMessage
from services.ingest.requests.checking import as_sent, checked
from services.ingest.requests.messages import MessagesPage, SendMessage
from services.ingest.wanted import require_room

#: As many deliveries as one message shows.
_DELIVERIES_MAX: Final = 1000
_ALL: Final = "/api/v1/messages"


class _Raw(msgspec.Struct):
    """The producer's bytes of a payload, untouched by reading them."""

    payload: msgspec.Raw


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path=_ALL,
            handler=send,
            body=SendMessage,
            headers={HEADER: "The message's idempotency key, bare or quoted."},
            answers={201: shapes.SentMessage, 200: shapes.SentMessage},
        ),
        Route(
            method="GET",
            path=_ALL,
            handler=list_,
            query=MessagesPage,
            answers={200: list[shapes.MessageSummary]},
        ),
        Route(
            method="GET",
            path=f"{_ALL}/{{id}}",
            handler=read,
            answers={200: shapes.Message},
        ),
    ]


async def send(request: web.Request) -> web.Response:
    """Send a message to every endpoint that asks for it: 201.

    200 when its idempotency key is known.  Message, deliveries and key are committed
    together.  Endpoints that are not enabled get theirs when they are.
    """
    principal = await _sender(request)
    body, data = await read_json(request)
    asked = understood(request, SendMessage, data)
    key = key_in_header(request.headers.get(HEADER), asked.idempotency_key)
    if key is not None:
        asked = checked(SendMessage, {**data, "idempotency_key": key})
    payload = bytes(as_sent(body, _Raw).payload)
    require_room(principal.plan, len(payload))
    sent = await request.app[MESSAGES].send(
        WantedMessage(
            organization_id=principal.organization_id,
            plan=principal.plan,
            event_type=asked.event_type,
            payload=payload.decode(),
            value=asked.payload,
            ordering_key=asked.ordering_key,
            idempotency_key=asked.idempotency_key,
            fingerprint=fingerprint_of(asked) if asked.idempotency_key else None,
        ),
        source="rest",
    )
    if key is not None and sent.differs:
        raise reused()
    shown: shapes.SentMessage = {
        "id": str(sent.message_id),
        "created": sent.created,
        "deliveries": sent.deliveries,
    }
    return answer(shown, status=201 if sent.created else 200)


async def list_(request: web.Request) -> web.Response:
    """Return messages, the newest first."""
    principal = await _sender(request)
    part = asked_part(request, default=50)
    named = plain(request, "endpoint_id")
    chosen = store.Filter(
        # What is no id is nobody's: the list is empty.
        endpoint_id=None if named is None else parse_id(named) or UUID(int=0),
        event_type=plain(request, "event_type", most=256),
        created_after=moment(request, "created_after"),
        created_before=moment(request, "created_before"),
        limit=part.limit,
        offset=part.offset,
    )
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        if chosen.endpoint_id is None:
            rows = await store.list_messages(
                conn, organization_id=organization_id, chosen=chosen
            )
        else:
            rows = await store.list_messages_of(
                conn, organization_id=organization_id, chosen=chosen
            )
    return part.of(rows, shapes.summary)


async def read(request: web.Request) -> web.Response:
    """Return one message, and what became of it at each endpoint."""
    principal = await whoever(request)
    id_ = id_in_path(request)
    async with borrow(request.app[POOL]) as conn:
        row = await store.read_message(
            conn, organization_id=principal.organization_id, id_=id_
        )
        if row is None or not principal.may(store.QUEUE):
            raise NotFound("Resource not found")
        deliveries = await store.list_deliveries(
            conn, message_id=id_, limit=_DELIVERIES_MAX
        )
    return answer(shapes.message(row, deliveries))


async def _sender(request: web.Request) -> Principal:
    """Return who asks, if the queue in which deliveries stand is theirs."""
    principal = await whoever(request)
    principal.require(store.QUEUE)
    return principal
