"""``/queues``: what a queue gives to jobs that do not say it (contract 1.5)."""

import orjson
from aiohttp import web

from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import Fault, Malformed, NotFound
from libs.common.ids import new_id
from libs.common.messages import OrganizationChanged
from libs.common.store import queues
from services.ingest.answers import queues as shapes
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    BUS,
    INTAKE,
    POOL,
    checked,
    queue_in_path,
    read_json,
    whoever,
)
from services.ingest.http.routing import Route
from services.ingest.requests.fields import JSON_BYTES_MAX
from services.ingest.requests.queues import ConfigureQueue


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(method="GET", path="/api/v1/queues/{name}", handler=read),
        Route(method="PUT", path="/api/v1/queues/{name}/config", handler=configure),
    ]


async def read(request: web.Request) -> web.Response:
    """Return a queue's configuration; of an unconfigured one, what it would be."""
    principal = await whoever(request)
    name = request.match_info["name"]
    if not principal.may(name):
        raise NotFound("Resource not found")
    async with borrow(request.app[POOL]) as conn:
        row = await queues.read_queue(
            conn, organization_id=principal.organization_id, name=name
        )
        used = row is not None or await queues.is_queue_used(
            conn, organization_id=principal.organization_id, name=name
        )
    if row is not None:
        return answer(shapes.queue(row))
    if not used:
        raise NotFound("Resource not found")
    return answer(_implicit(principal, name))


async def configure(request: web.Request) -> web.Response:
    """Create or change a queue's configuration."""
    principal = await whoever(request)
    name = queue_in_path(request)
    principal.require(name)
    _, data = await read_json(request)
    asked = checked(ConfigureQueue, data)
    settings = data.get("settings")
    if settings is not None and len(orjson.dumps(settings)) > JSON_BYTES_MAX:
        raise Malformed(Fault("settings", "exceed 64 KiB", "size"))
    async with borrow(request.app[POOL]) as conn:
        row = await queues.configure_queue(
            conn,
            id_=new_id(),
            organization_id=principal.organization_id,
            name=name,
            max_retries=asked.max_retries,
            default_timeout=asked.default_timeout or asked.timeout_seconds,
            rate_limit=asked.rate_limit,
            enabled=asked.enabled,
            settings=None if settings is None else orjson.dumps(settings).decode(),
        )
    word = OrganizationChanged(organization_id=str(principal.organization_id))
    request.app[INTAKE].forget(word)
    await request.app[BUS].ring(word)
    return answer(shapes.queue(row))


def _implicit(principal: Principal, name: str) -> dict[str, object]:
    """Return the configuration of a queue that exists only by its jobs."""
    return {
        "id": f"implicit:{name}",
        "organization_id": str(principal.organization_id),
        "queue_name": name,
        "max_retries": 3,
        "default_timeout": 300,
        "rate_limit": None,
        "enabled": True,
        "settings": {"implicit": True},
        "created_at": None,
        "updated_at": None,
    }
