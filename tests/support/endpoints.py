"""Endpoints of the API, made for tests, and what the database says of them."""

from uuid import UUID

from libs.common.sealing import Sealer
from libs.common.store import receivers
from tests.support import stock
from tests.support.house import SECRET_KEY

URL = "https://hooks.example.com/in"


async def create_endpoint(api, **fields):
    """Create an endpoint; return it, with its secret."""
    return await api.ask("POST", "/endpoints", json={"url": URL, **fields}, expect=201)


async def versions(conn, id_):
    """Return the version of an endpoint, and that of its organization's."""
    row = await conn.fetchrow(
        "SELECT version, endpoints_version FROM endpoints"
        " JOIN organizations ON organizations.id = organization_id"
        " WHERE endpoints.id = $1",
        id_,
    )
    return tuple(row)


async def signing(conn, id_):
    """Return the keys that sign for an endpoint now, opened: (scheme, bytes)."""
    found = await receivers.read_receivers(conn, endpoint_ids=[UUID(id_)])
    return [
        (key.scheme, Sealer(SECRET_KEY).unseal(key.sealed, owner=id_))
        for one in found.values()
        for key in one.keys
    ]


async def send(api, event_type, payload, **fields):
    """Send a message; return what is said of it."""
    body = {"event_type": event_type, "payload": payload, **fields}
    return await api.ask("POST", "/messages", json=body, expect=201)


async def fill(conn, made, count, **fields):
    """Create jobs for an endpoint, straight through the store; return its lane."""
    endpoint_id = UUID(made["id"])
    line = await stock.open_endpoint(
        conn,
        organization_id=await conn.fetchval(
            "SELECT organization_id FROM endpoints WHERE id = $1", endpoint_id
        ),
        endpoint_id=endpoint_id,
    )
    await stock.create(conn, line, count, **{"max_retries": 9, **fields})
    return line
