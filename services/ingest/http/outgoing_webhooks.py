"""``/outgoing-webhooks``: who is told what happens (contract 1.10)."""

from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from libs.common import outgoing as rules
from libs.common.access import Principal
from libs.common.db import Conn, Row, borrow
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.ids import new_id, parse_id
from libs.common.lifecycle import Place
from libs.common.messages import Delivery
from libs.common.store import endpoint_secrets, outgoing, receivers
from services.ingest.answers import outgoing as shapes
from services.ingest.endpoints import ENDPOINTS_MAX, hold, require_room
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    BUS,
    HOT,
    POOL,
    SEALER,
    SETTINGS,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.http.waking import wake
from services.ingest.requests.outgoing import (
    ChangeWebhook,
    CreateWebhook,
    DeliveryPage,
)
from services.ingest.test_sends import send_once
from services.ingest.webhook_urls import webhook_url

_ALL: Final = "/api/v1/outgoing-webhooks"
_ONE: Final = f"{_ALL}/{{id}}"
_STATUSES: Final = ("pending", "success", "failed")


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path=_ALL,
            handler=list_,
            answers={200: list[shapes.Webhook]},
            refusals=(403,),
        ),
        Route(
            method="POST",
            path=_ALL,
            handler=create,
            body=CreateWebhook,
            answers={201: shapes.Webhook},
            refusals=(400, 403, 422, 429),
        ),
        Route(
            method="GET",
            path=_ONE,
            handler=read,
            answers={200: shapes.Webhook},
            refusals=(403, 404),
        ),
        Route(
            method="PUT",
            path=_ONE,
            handler=change,
            body=ChangeWebhook,
            answers={200: shapes.Webhook},
            refusals=(400, 403, 404, 422, 429),
        ),
        Route(
            method="DELETE",
            path=_ONE,
            handler=delete,
            answers={204: None},
            refusals=(403, 404),
        ),
        *_deliveries(),
    ]


def _deliveries() -> list[Route]:
    """Return the routes about what was sent."""
    return [
        Route(
            method="POST",
            path=f"{_ONE}/test",
            handler=test,
            answers={200: shapes.Tested},
            refusals=(400, 403, 404),
        ),
        Route(
            method="GET",
            path=f"{_ONE}/deliveries",
            handler=list_deliveries,
            query=DeliveryPage,
            answers={200: list[shapes.WebhookDelivery]},
            refusals=(403, 404),
        ),
        Route(
            method="POST",
            path=f"{_ONE}/retry/{{delivery_id}}",
            handler=retry,
            answers={200: shapes.Retried},
            refusals=(400, 403, 404),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the organization's outgoing webhooks, newest first."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await outgoing.list_webhooks(
            conn, organization_id=principal.organization_id, limit=ENDPOINTS_MAX
        )
    return answer([shapes.webhook(row) for row in rows])


async def create(request: web.Request) -> web.Response:
    """Create an outgoing webhook; its secret is never shown again."""
    principal = await _keeper(request)
    asked = await read_body(request, CreateWebhook)
    url = _url(request, asked.url)
    id_, organization_id = new_id(), principal.organization_id
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        await require_room(conn, principal, new=True, enabled=asked.enabled)
        await outgoing.create_webhook(
            conn,
            id_=id_,
            organization_id=organization_id,
            name=asked.name,
            url=url,
            events=asked.events,
            format_=asked.format or "json",
            enabled=asked.enabled,
            timeout_seconds=rules.TIMEOUT_SECONDS,
            retry=rules.RETRY,
            max_retries=rules.MAX_RETRIES,
            max_concurrency=rules.MAX_CONCURRENCY,
        )
        if asked.secret is not None:
            await _put_secret(request, conn, id_, asked.secret)
        row = await _row(conn, principal, id_)
    await tell_changed(request, organization_id)
    return answer(shapes.webhook(row), status=201)


async def read(request: web.Request) -> web.Response:
    """Return one outgoing webhook."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        row = await _row(conn, principal, id_in_path(request))
    return answer(shapes.webhook(row))


async def change(request: web.Request) -> web.Response:
    """Change an outgoing webhook; absent keeps what is there.

    Null keeps as well, except that it takes ``secret`` away. What waits to be sent
    goes to the new URL.
    """
    principal = await _keeper(request)
    id_ = id_in_path(request)
    asked = await read_body(request, ChangeWebhook)
    url = None if asked.url is None else _url(request, asked.url)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        before = await _row(conn, principal, id_)
        if asked.enabled and not before["enabled"]:
            await require_room(conn, principal, new=False, enabled=True)
        await outgoing.change_webhook(
            conn,
            organization_id=principal.organization_id,
            id_=id_,
            name=asked.name,
            url=url,
            events=asked.events,
            format_=asked.format,
            enabled=asked.enabled,
        )
        if asked.secret is not None:
            await _put_secret(request, conn, id_, asked.secret)
        elif "secret" in asked.model_fields_set:
            await endpoint_secrets.remove_secrets(conn, endpoint_id=id_)
        row = await _row(conn, principal, id_)
    await tell_changed(request, principal.organization_id)
    return answer(shapes.webhook(row))


async def delete(request: web.Request) -> web.Response:
    """Delete an outgoing webhook; what waits to be sent to it is cancelled."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        deleted = await outgoing.delete_webhook(
            conn, organization_id=principal.organization_id, id_=id_in_path(request)
        )
    if not deleted:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return web.Response(status=204)


async def test(request: web.Request) -> web.Response:
    """Send a test to an outgoing webhook, at once, and return how that went.

    It is sent to a disabled one as well, and is no delivery.
    """
    principal = await _keeper(request)
    id_ = id_in_path(request)
    async with borrow(request.app[POOL]) as conn:
        row = await _row(conn, principal, id_)
        found = await receivers.read_receivers(conn, endpoint_ids=[id_])
    if id_ not in found:
        raise NotFound("Resource not found")
    url, now = _url(request, row["url"]), datetime.now(UTC)
    body = rules.test_body_of(
        row["format"],
        webhook_id=str(id_),
        organization_id=str(principal.organization_id),
        now=now,
    ).encode()
    verdict = await send_once(
        request.app[BUS],
        job=Delivery(
            job_id=str(new_id()),
            endpoint_id=str(id_),
            organization_id=str(principal.organization_id),
            attempt=1,
            url=url,
            timeout_seconds=row["timeout_seconds"],
            body=msgspec.Raw(body),
            body_bytes=len(body),
            headers=rules.headers_of(rules.TEST_EVENT),
        ),
        receiver=found[id_].receiver(now=now),
        secrets=[],
    )
    return answer(shapes.tested(verdict))


async def list_deliveries(request: web.Request) -> web.Response:
    """Return what an outgoing webhook was sent, newest first."""
    principal = await _keeper(request)
    id_ = id_in_path(request)
    status = request.query.get("status")
    part = asked_part(request)
    async with borrow(request.app[HOT]) as conn:
        await _row(conn, principal, id_)
        rows = await outgoing.list_deliveries(
            conn,
            endpoint_id=id_,
            status=status if status in _STATUSES else None,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, partial(shapes.delivery, id_))


async def retry(request: web.Request) -> web.Response:
    """Try a delivery that failed once more, up to ten attempts in all."""
    principal = await _keeper(request)
    id_ = id_in_path(request)
    delivery_id = parse_id(request.match_info["delivery_id"])
    if delivery_id is None:
        raise _refused("must be a UUID")
    async with borrow(request.app[HOT]) as conn:
        await _row(conn, principal, id_)
        delivery = await outgoing.read_delivery(
            conn, endpoint_id=id_, job_id=delivery_id
        )
        if delivery is None:
            raise NotFound("Resource not found")
        if delivery["ending"] == "completed":
            raise _refused("was delivered already")
        if delivery["attempts"] >= rules.ATTEMPTS_MAX:
            raise _refused(f"was attempted {rules.ATTEMPTS_MAX} times already")
        if delivery["place"] == Place.FINISHED:
            raise _refused("was cancelled")
        again = await outgoing.retry_delivery(
            conn, job_id=delivery_id, actor=str(principal.api_key_id)
        )
    if again is None:
        raise _refused("is being tried already")
    await wake(request, [again])
    return answer({"success": True, "message": "The delivery is tried again"})


def _refused(words: str) -> Malformed:
    return Malformed(Fault("delivery_id", words, "BAD_REQUEST"))


def _url(request: web.Request, text: str) -> str:
    development = request.app[SETTINGS].development
    return webhook_url(text, development=development, field="url").url


async def _put_secret(request: web.Request, conn: Conn, id_: UUID, secret: str) -> None:
    await endpoint_secrets.put_secret(
        conn,
        endpoint_id=id_,
        scheme="contract",
        sealed=request.app[SEALER].seal(secret.encode(), owner=str(id_)),
    )


async def _row(conn: Conn, principal: Principal, id_: UUID) -> Row:
    """Return a webhook of the organization; raises `NotFound`."""
    row = await outgoing.read_webhook(
        conn, organization_id=principal.organization_id, id_=id_
    )
    if row is None:
        raise NotFound("Resource not found")
    return row


async def _keeper(request: web.Request) -> Principal:
    """Return who asks, if they may look after webhooks."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return principal
