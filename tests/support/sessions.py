"""Sessions and keys of a tenant, for tests of who may come in."""

from libs.common.access import new_key
from libs.common.ids import new_id
from libs.common.store import api_keys


async def login(api, key=None):
    """Return a new session's tokens."""
    return await api.ask(
        "POST",
        "/auth/login",
        json={"api_key": key or api.tenant.api_key},
        expect=200,
        headers={"Authorization": ""},
    )


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def add_key(conn, tenant, **fields):
    """Return the text and the id of another key of the tenant's."""
    key, digest = new_key()
    row = await api_keys.create_key(
        conn,
        id_=new_id(),
        organization_id=tenant.id,
        key_sha256=digest,
        name="another",
        **fields,
    )
    return key, row["id"]


async def words(api, path="/auth/me", *, method="GET", **kwargs):
    """Return status and message."""
    status, data, _ = await api.ask(method, path, **kwargs)
    return status, data["message"]
