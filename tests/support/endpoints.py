"""Endpoints of the API, made for tests, and what the database says of them."""

from libs.common.sealing import Sealer
from libs.common.store import endpoints as store
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
    found = await store.read_receivers(conn, ids=[id_])
    return [
        (key.scheme, Sealer(SECRET_KEY).unseal(key.sealed, owner=str(id_)))
        for one in found.values()
        for key in one.receiver.keys
    ]
