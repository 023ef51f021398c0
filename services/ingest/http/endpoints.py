"""``/endpoints``: who receives messages, and how."""

from typing import Final
from uuid import UUID

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import Conn, Row, borrow
from libs.common.errors import NotFound
from libs.common.store import endpoints as store
from services.ingest.answers import endpoints as shapes
from services.ingest.endpoints import (
    changes_of,
    hold,
    new_endpoint,
    require_room,
    require_same_scheme,
    signing_key,
)
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import (
    POOL,
    SEALER,
    SETTINGS,
    id_in_path,
    read_body,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.endpoints import ChangeEndpoint, CreateEndpoint
from services.ingest.requests.fields import Page

_ALL: Final = "/api/v1/endpoints"
ONE: Final = f"{_ALL}/{{id}}"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path=_ALL,
            handler=create,
            body=CreateEndpoint,
            answers={201: shapes.NewEndpoint},
        ),
        Route(
            method="GET",
            path=_ALL,
            handler=list_,
            query=Page,
            answers={200: list[shapes.Endpoint]},
        ),
        Route(method="GET", path=ONE, handler=read, answers={200: shapes.Endpoint}),
        *(
            Route(
                method=method,
                path=ONE,
                handler=change,
                body=ChangeEndpoint,
                answers={200: shapes.Endpoint},
            )
            for method in ("PATCH", "PUT")
        ),
        Route(method="DELETE", path=ONE, handler=delete, answers={204: None}),
    ]


async def create(request: web.Request) -> web.Response:
    """Create an endpoint: 201, with what signs for it, this once."""
    principal = await whoever(request)
    principal.require_unrestricted()
    asked = await read_body(request, CreateEndpoint)
    sealer = request.app[SEALER]
    key = signing_key(asked.signature_scheme or "v1", asked.secret)
    new = new_endpoint(
        asked, sealer=sealer, development=request.app[SETTINGS].development
    )
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        await require_room(conn, principal, new=True, enabled=new.enabled)
        await store.create_endpoint(conn, organization_id=organization_id, new=new)
        await key.put(conn, sealer, new.id)
        row = await _row(conn, principal, new.id)
    await tell_changed(request, organization_id)
    return answer({**shapes.endpoint(row), **key.shown}, status=201)


async def list_(request: web.Request) -> web.Response:
    """Return the organization's endpoints, the newest first."""
    principal = await whoever(request)
    principal.require_unrestricted()
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await store.list_endpoints(
            conn,
            organization_id=principal.organization_id,
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.endpoint)


async def read(request: web.Request) -> web.Response:
    """Return one endpoint, and how it does."""
    principal = await whoever(request)
    return answer(shapes.endpoint(await endpoint_in_path(request, principal)))


async def change(request: web.Request) -> web.Response:
    """Change an endpoint, from its next attempt on; what is absent stays.

    One that is enabled again, or is given another URL, begins as healthy.
    """
    principal = await whoever(request)
    principal.require_unrestricted()
    id_ = id_in_path(request)
    asked = await read_body(request, ChangeEndpoint)
    changes = changes_of(
        asked,
        id_,
        sealer=request.app[SEALER],
        development=request.app[SETTINGS].development,
    )
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        before = await _row(conn, principal, id_)
        require_same_scheme(asked, before["signature_scheme"])
        if asked.enabled and not before["enabled"]:
            await require_room(conn, principal, new=False, enabled=True)
        await store.change_endpoint(
            conn, organization_id=organization_id, id_=id_, changes=changes
        )
        row = await _row(conn, principal, id_)
    await tell_changed(request, organization_id)
    return answer(shapes.endpoint(row))


async def delete(request: web.Request) -> web.Response:
    """Delete an endpoint: 204; what waits for it is cancelled."""
    principal = await whoever(request)
    principal.require_unrestricted()
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        gone = await store.delete_endpoint(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
        )
    if not gone:
        raise NotFound("Resource not found")
    await tell_changed(request, principal.organization_id)
    return web.Response(status=204)


async def endpoint_in_path(request: web.Request, principal: Principal) -> Row:
    """Return the endpoint that the path names; raises `NotFound`, `Forbidden`."""
    principal.require_unrestricted()
    async with borrow(request.app[POOL]) as conn:
        return await _row(conn, principal, id_in_path(request))


async def _row(conn: Conn, principal: Principal, id_: UUID) -> Row:
    row = await store.read_endpoint(
        conn, organization_id=principal.organization_id, id_=id_
    )
    if row is None:
        raise NotFound("Resource not found")
    return row
