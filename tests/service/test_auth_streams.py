"""A session watches like the key it was made from, and no longer than it lasts."""

import asyncio
from types import SimpleNamespace

import aiohttp
import pytest

from libs.common.messages import OrganizationChanged
from libs.common.tokens import spelled_keys, token_keys
from tests.support.house import SECRET_KEY, Api, Tenant, run_house
from tests.support.watching import open_gallery, tenant

#: What a stack tells the streamer: nothing that is sealed opens with it.
TOKEN_KEY = spelled_keys(token_keys(SECRET_KEY))


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


@pytest.fixture
async def pair(database_url, nats_url, acme):
    """The tokens of a session; whoever made them is gone by then."""
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        aiohttp.ClientSession() as http,
    ):
        api = Api(house.base_url, http, Tenant(acme.organization_id, acme.key, ""))
        return await api.ask(
            "POST", "/auth/login", json={"api_key": acme.key}, expect=200
        )


async def test_an_access_token_opens_a_stream_until_the_session_ends(
    database_url, nats_url, conn, acme, pair
):
    token = pair["access_token"]
    nobody = SimpleNamespace(headers={})
    holder = SimpleNamespace(headers={"Authorization": f"Bearer {token}"})
    changed = OrganizationChanged(organization_id=str(acme.organization_id))
    async with open_gallery(database_url, nats_url, token_key=TOKEN_KEY) as gallery:
        async with gallery.stream(nobody, token=token):
            pass
        async with gallery.stream(holder) as stream:
            await gallery.announce(acme.changed("started"))
            assert (await stream.event())[1] == "JobStatusChange"
            # Signed out, and the hint that says so is lost.
            await conn.execute("UPDATE sessions SET revoked_at = now()")
            async with asyncio.timeout(2):
                last = (await stream.rest())[-1]
        # For who asks anew, another streamer may have remembered it for a while.
        await gallery.bus.ring(changed)
        refused = await gallery.refused(f"?token={token}")
        refresh = await gallery.refused(f"?token={pair['refresh_token']}")

    assert "Token has been revoked" in last["data"]
    assert (refused[0], refused[1]["message"]) == (401, "Token has been revoked")
    assert (refresh[0], refresh[1]["message"]) == (401, "Invalid token type")


async def test_without_the_token_key_no_token_is_known(
    database_url, nats_url, acme, pair
):
    async with open_gallery(database_url, nats_url) as gallery:
        status, body = await gallery.refused(f"?token={pair['access_token']}")
        async with gallery.stream(acme):
            pass

    assert (status, body["message"]) == (401, "Invalid token")
