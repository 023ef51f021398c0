"""``/endpoints/{id}/secret``: what signs for an endpoint, made anew."""

from datetime import timedelta

from aiohttp import web

from libs.common.db import borrow
from libs.common.errors import Conflict, NotFound
from libs.common.store import endpoint_secrets, endpoints
from services.ingest.answers import endpoints as shapes
from services.ingest.endpoints import SECRETS_MAX, hold, signing_key
from services.ingest.http.changes import tell_changed
from services.ingest.http.endpoints import ONE
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    POOL,
    SEALER,
    id_in_path,
    read_optional,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.endpoints import RotateEndpointSecret


def routes() -> list[Route]:
    """Return the route; what there is, is not shown again."""
    return [
        Route(
            method="POST",
            path=f"{ONE}/secret/rotate",
            handler=rotate,
            body=RotateEndpointSecret,
            body_optional=True,
            answers={200: shapes.RotatedSecret},
            refusals=(409,),
        )
    ]


async def rotate(request: web.Request) -> web.Response:
    """Make a new secret, or key; the old ones sign on for the overlap.

    It is shown this once.  409 when ten sign already: wait until one is over, or leave
    no overlap.
    """
    principal = await whoever(request)
    principal.require_unrestricted()
    id_ = id_in_path(request)
    asked = await read_optional(request, RotateEndpointSecret)
    organization_id = principal.organization_id
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await hold(conn, principal)
        row = await endpoints.read_endpoint(
            conn, organization_id=organization_id, id_=id_
        )
        if row is None:
            raise NotFound("Resource not found")
        key = signing_key(
            asked.signature_scheme or row["signature_scheme"], asked.secret
        )
        signing = await endpoint_secrets.list_secrets(conn, endpoint_id=id_)
        if asked.overlap_seconds and len(signing) >= SECRETS_MAX:
            raise Conflict(f"{SECRETS_MAX} secrets sign for this endpoint already")
        await key.put(
            conn,
            request.app[SEALER],
            id_,
            overlap=timedelta(seconds=asked.overlap_seconds),
        )
        await endpoints.change_endpoint(
            conn,
            organization_id=organization_id,
            id_=id_,
            changes={"signature_scheme": key.scheme},
        )
        signing = await endpoint_secrets.list_secrets(conn, endpoint_id=id_)
    await tell_changed(request, organization_id)
    return answer(shapes.rotated(signing, key.shown))
