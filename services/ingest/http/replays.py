"""``/endpoints/{id}/replay`` and ``/replays``: what an endpoint is sent again."""

from typing import Final

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import Conflict, NotFound
from libs.common.ids import new_id
from libs.common.store import replays
from libs.common.store.replays import NewReplay
from services.ingest.answers import replays as shapes
from services.ingest.endpoints import require_filter
from services.ingest.http.endpoints import ONE, endpoint_in_path
from services.ingest.http.errors import answer
from services.ingest.http.paging import asked_part
from services.ingest.http.reading import POOL, id_in_path, read_body, whoever
from services.ingest.http.routing import Route
from services.ingest.requests.fields import Page
from services.ingest.requests.replays import StartReplay

_ONE: Final = "/api/v1/replays/{id}"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path=f"{ONE}/replay",
            handler=start,
            body=StartReplay,
            answers={202: shapes.ReplayStarted},
            refusals=(409,),
        ),
        Route(
            method="GET",
            path=f"{ONE}/replays",
            handler=list_,
            query=Page,
            answers={200: list[shapes.Replay]},
        ),
        Route(method="GET", path=_ONE, handler=read, answers={200: shapes.Replay}),
        Route(
            method="POST",
            path=f"{_ONE}/cancel",
            handler=cancel,
            answers={200: shapes.Replay},
            refusals=(409,),
        ),
    ]


async def start(request: web.Request) -> web.Response:
    """Send an endpoint again what failed, what it missed, or everything of a time.

    202: it goes on by itself, across restarts, no faster than asked, and beside what is
    new. What is sent again has the ``webhook-id`` it had. 409 while another replay of
    the endpoint is running.
    """
    principal = await whoever(request)
    endpoint = await endpoint_in_path(request, principal)
    asked = await read_body(request, StartReplay)
    if asked.filter is not None:
        require_filter(asked.filter)
    id_ = new_id()
    async with borrow(request.app[POOL]) as conn:
        row = await replays.create_replay(
            conn,
            new=NewReplay(
                id=id_,
                organization_id=principal.organization_id,
                endpoint_id=endpoint["id"],
                since=asked.since,
                until=asked.until,
                status=asked.status,
                filter=asked.filter,
                rate_per_second=asked.rate_per_second,
                actor=str(principal.api_key_id),
            ),
        )
    if row is None:
        raise Conflict("Another replay of the endpoint is running")
    return answer({"replay_id": str(id_)}, status=202)


async def list_(request: web.Request) -> web.Response:
    """Return the replays of an endpoint, the newest first."""
    principal = await whoever(request)
    endpoint = await endpoint_in_path(request, principal)
    part = asked_part(request)
    async with borrow(request.app[POOL]) as conn:
        rows = await replays.list_replays(
            conn,
            organization_id=principal.organization_id,
            endpoint_id=endpoint["id"],
            limit=part.limit,
            offset=part.offset,
        )
    return part.of(rows, shapes.replay)


async def read(request: web.Request) -> web.Response:
    """Return a replay, and how far it came."""
    principal = await whoever(request)
    principal.require_unrestricted()
    async with borrow(request.app[POOL]) as conn:
        row = await replays.read_replay(
            conn,
            organization_id=principal.organization_id,
            id_=id_in_path(request),
        )
    if row is None:
        raise NotFound("Resource not found")
    return answer(shapes.replay(row))


async def cancel(request: web.Request) -> web.Response:
    """End a replay; what was sent again already stays so. 409 when it is over."""
    principal = await whoever(request)
    principal.require_unrestricted()
    id_, organization_id = id_in_path(request), principal.organization_id
    async with borrow(request.app[POOL]) as conn:
        row = await replays.cancel_replay(
            conn, organization_id=organization_id, id_=id_
        )
        if row is None:
            found = await replays.read_replay(
                conn, organization_id=organization_id, id_=id_
            )
            if found is None:
                raise NotFound("Resource not found")
            raise Conflict(f"Replay is {found['state']} already")
    return answer(shapes.replay(row))
