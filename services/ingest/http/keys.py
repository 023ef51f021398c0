"""``/api-keys``: who may ask (contract 1.7)."""

from uuid import UUID

from aiohttp import web

from libs.common.access import Principal, new_key
from libs.common.db import Conn, Row, borrow
from libs.common.errors import NotFound
from libs.common.ids import new_id
from libs.common.store import api_keys, organizations
from services.ingest.answers import keys as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    POOL,
    SETTINGS,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.fields import Page
from services.ingest.requests.keys import ChangeKey, CreateKey


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="GET",
            path="/api/v1/api-keys",
            handler=list_,
            query=Page,
            answers={200: list[shapes.Key]},
            refusals=(403,),
        ),
        Route(
            method="POST",
            path="/api/v1/api-keys",
            handler=create,
            body=CreateKey,
            answers={201: shapes.NewKey},
            refusals=(400, 403, 422, 429),
        ),
        Route(
            method="GET",
            path="/api/v1/api-keys/{id}",
            handler=read,
            answers={200: shapes.Key},
            refusals=(403, 404),
        ),
        Route(
            method="PUT",
            path="/api/v1/api-keys/{id}",
            handler=change,
            body=ChangeKey,
            answers={200: shapes.Key},
            refusals=(400, 403, 404, 422, 429),
        ),
        Route(
            method="DELETE",
            path="/api/v1/api-keys/{id}",
            handler=revoke,
            answers={204: None},
            refusals=(403, 404),
        ),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the organization's keys, newest first."""
    principal = await _keeper(request)
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await api_keys.list_keys(
            conn,
            organization_id=principal.organization_id,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.key)


async def create(request: web.Request) -> web.Response:
    """Create a key; the key itself is shown this once."""
    principal = await _keeper(request)
    asked = await read_body(request, CreateKey)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await _require_room(conn, principal)
        shown = await made(
            conn,
            organization_id=principal.organization_id,
            asked=asked,
            prefix=request.app[SETTINGS].api_key_prefix,
        )
    return answer(shown, status=201)


async def read(request: web.Request) -> web.Response:
    """Return one key."""
    principal = await _keeper(request)
    id_ = id_in_path(request)
    async with borrow(request.app[POOL]) as conn:
        row = await api_keys.read_key(
            conn, organization_id=principal.organization_id, id_=id_
        )
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.key(row))


async def change(request: web.Request) -> web.Response:
    """Change a key, at once and everywhere; absent keeps what is there.

    Null keeps as well, except that it takes ``rate_limit`` away.
    A key that was revoked can be given back, if the plan has room for it.
    """
    principal = await _keeper(request)
    asked = await read_body(request, ChangeKey)
    return answer(shapes.key(await _changed(request, principal, asked)))


async def revoke(request: web.Request) -> web.Response:
    """Revoke a key, at once and everywhere; also the one that asks."""
    principal = await _keeper(request)
    await _changed(request, principal, ChangeKey(is_active=False))
    return web.Response(status=204)


async def made(
    conn: Conn, *, organization_id: UUID, asked: CreateKey, prefix: str
) -> shapes.NewKey:
    """Make a key for an organization, whatever its plan."""
    key, digest = new_key(prefix)
    row = await api_keys.create_key(
        conn,
        id_=new_id(),
        organization_id=organization_id,
        key_sha256=digest,
        name=asked.name,
        queues=asked.queues or (),
        rate_limit=asked.rate_limit,
        expires_at=asked.expires_at,
    )
    return shapes.new_key(row, secret=key)


async def _changed(request: web.Request, principal: Principal, asked: ChangeKey) -> Row:
    id_ = id_in_path(request)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        if asked.is_active:
            before = await api_keys.read_key(
                conn, organization_id=principal.organization_id, id_=id_
            )
            if before is not None and not before["is_active"]:
                await _require_room(conn, principal)
        row = await api_keys.change_key(
            conn,
            organization_id=principal.organization_id,
            id_=id_,
            name=asked.name,
            queues=asked.queues,
            rate_limit=asked.rate_limit,
            is_active=asked.is_active,
            unlimited=asked.rate_limit is None
            and "rate_limit" in asked.model_fields_set,
        )
    if row is None:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return row


async def _require_room(conn: Conn, principal: Principal) -> None:
    """Raise `QuotaExceeded` unless the plan allows one more active key.

    Whoever else wants one waits until the transaction ends.
    """
    organization_id = principal.organization_id
    await organizations.lock_organization(conn, id_=organization_id)
    count = await api_keys.count_active(conn, organization_id=organization_id)
    principal.plan.require("api_keys", after=count + 1)


async def _keeper(request: web.Request) -> Principal:
    """Return who asks, if they may look after keys."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return principal
