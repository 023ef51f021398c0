"""``/api-keys``: who may ask (contract 1.7)."""

from aiohttp import web

from libs.common.access import Principal, new_key
from libs.common.db import borrow
from libs.common.errors import NotFound
from libs.common.ids import new_id
from libs.common.messages import OrganizationChanged
from libs.common.store import api_keys
from services.ingest.answers import keys as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    BUS,
    KEYS,
    POOL,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.keys import ChangeKey, CreateKey


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(method="GET", path="/api/v1/api-keys", handler=list_),
        Route(method="POST", path="/api/v1/api-keys", handler=create),
        Route(method="GET", path="/api/v1/api-keys/{id}", handler=read),
        Route(method="PUT", path="/api/v1/api-keys/{id}", handler=change),
        Route(method="DELETE", path="/api/v1/api-keys/{id}", handler=revoke),
    ]


async def list_(request: web.Request) -> web.Response:
    """Return the organization's keys, newest first."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await api_keys.list_keys(conn, organization_id=principal.organization_id)
    return answer([shapes.key(row) for row in rows])


async def create(request: web.Request) -> web.Response:
    """Create a key: 201; the key itself is shown this once."""
    principal = await _keeper(request)
    asked = await read_body(request, CreateKey)
    key, digest = new_key()
    async with borrow(request.app[POOL]) as conn:
        row = await api_keys.create_key(
            conn,
            id_=new_id(),
            organization_id=principal.organization_id,
            key_sha256=digest,
            name=asked.name,
            queues=asked.queues,
            rate_limit=asked.rate_limit,
            expires_at=asked.expires_at,
        )
    return answer({**shapes.key(row), "key": key}, status=201)


async def read(request: web.Request) -> web.Response:
    """Return one key."""
    principal = await _keeper(request)
    async with borrow(request.app[POOL]) as conn:
        row = await api_keys.read_key(
            conn, organization_id=principal.organization_id, id_=id_in_path(request)
        )
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.key(row))


async def change(request: web.Request) -> web.Response:
    """Change a key; it holds everywhere at once."""
    principal = await _keeper(request)
    asked = await read_body(request, ChangeKey)
    return answer(await _changed(request, principal, asked))


async def revoke(request: web.Request) -> web.Response:
    """Revoke a key, at once and everywhere: 204."""
    principal = await _keeper(request)
    await _changed(request, principal, ChangeKey(is_active=False))
    return web.Response(status=204)


async def _changed(
    request: web.Request, principal: Principal, asked: ChangeKey
) -> dict[str, object]:
    async with borrow(request.app[POOL]) as conn:
        row = await api_keys.change_key(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
            name=asked.name,
            queues=asked.queues,
            rate_limit=asked.rate_limit,
            is_active=asked.is_active,
        )
    if row is None:
        raise NotFound("Resource not found")
    word = OrganizationChanged(organization_id=str(principal.organization_id))
    # Here at once, whatever the bus does; elsewhere as soon as they hear it.
    request.app[KEYS].forget(word)
    await request.app[BUS].ring(word)
    return shapes.key(row)


async def _keeper(request: web.Request) -> Principal:
    """Return who asks, if they may look after keys."""
    principal = await whoever(request)
    principal.require_unrestricted()
    return principal
