"""Many large bodies at once wait for their turn, and starve nobody else."""

import asyncio
import io
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import orjson
import pytest

from services.ingest.settings import BODIES_BYTES_MAX, BODY_BYTES_MAX
from tests.support.house import new_tenant, open_api, run_house

#: So many slow ones take all that one organization may have.
SHARE = BODIES_BYTES_MAX // 2 // BODY_BYTES_MAX


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


class Slow:
    """A request whose body does not come until somebody wants it to."""

    def __init__(self, api, *, length=BODY_BYTES_MAX, path="/api/v1/jobs", key=True):
        self._api = api
        self._path = path
        self._key = key
        job = {"queue_name": "slow", "payload": "x" * 1000}
        self._body = orjson.dumps(job).ljust(length)

    async def __aenter__(self):
        where = urlsplit(self._api.base_url)
        self._reader, self._writer = await asyncio.open_connection(
            where.hostname, where.port
        )
        credential = f"X-API-Key: {self._api.tenant.api_key}\r\n" if self._key else ""
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: bellhop\r\n{credential}"
            "Content-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + self._body[:1])
        await self._writer.drain()
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def finish(self):
        """Send the rest; return the status of the answer."""
        self._writer.write(self._body[1:])
        head = await self._reader.readuntil(b"\r\n")
        await self._writer.drain()
        return int(head.split()[1])


def large_job(queue="large"):
    """Return a body that is large, and of no large job."""
    job = {"queue_name": queue, "payload": {"n": 1}}
    return orjson.dumps(job).ljust(BODY_BYTES_MAX)


async def post(api, body):
    """Create a job out of *body*; return the status and the headers."""
    async with api.session.post(
        f"{api.base_url}/api/v1/jobs",
        data=io.BytesIO(body),
        headers={
            "Authorization": f"Bearer {api.tenant.api_key}",
            "Content-Type": "application/json",
        },
    ) as answer:
        await answer.read()
        return answer.status, answer.headers


async def fill(stack, api, count=SHARE, **kwargs):
    """Let *count* slow requests begin; return them when they are being read."""
    slow = [await stack.enter_async_context(Slow(api, **kwargs)) for _ in range(count)]
    await asyncio.sleep(0.3)
    return slow


async def test_who_sends_many_slowly_holds_up_nobody_but_themselves(
    house, api, database_url
):
    other = await new_tenant(database_url, slug="other")
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(open_api(house, other))
        slow = await fill(stack, api)

        # A small one of theirs, and a large one of somebody else, go through at once.
        small, large = orjson.dumps({"queue_name": "q", "payload": {}}), large_job()
        assert (await asyncio.wait_for(post(api, small), 3))[0] == 201
        assert (await asyncio.wait_for(post(others, large), 3))[0] == 201
        # A large one of theirs waits, and is told to come again.
        status, headers = await post(api, large)
        assert (status, headers["Retry-After"]) == (503, "1")

        assert {await one.finish() for one in slow} == {201}
        assert (await post(api, large))[0] == 201


async def test_who_waits_goes_on_as_soon_as_there_is_room(house, api):
    async with AsyncExitStack() as stack:
        slow = await fill(stack, api)
        waiting = [asyncio.create_task(post(api, large_job())) for _ in range(SHARE)]
        await asyncio.sleep(0.5)
        assert not any(one.done() for one in waiting)

        assert await slow[0].finish() == 201
        # One after the other through the room of one.
        assert {status for status, _ in await asyncio.gather(*waiting)} == {201}


async def test_who_leaves_leaves_their_room(house, api):
    async with AsyncExitStack() as stack:
        await fill(stack, api, count=2 * SHARE)
        # Half of them had the room, the others waited for it: all hang up.
    async with asyncio.timeout(4):
        while (await post(api, large_job()))[0] != 201:
            await asyncio.sleep(0.1)


async def test_strangers_share_a_room_of_their_own(house, api):
    path = f"/api/v1/webhooks/{api.tenant.id}/github"
    async with AsyncExitStack() as stack:
        await fill(stack, api, path=path, key=False)
        status, _ = await asyncio.wait_for(post(api, large_job()), 3)
        assert status == 201


async def test_what_is_too_large_is_refused_and_takes_no_room(house, api):
    for _ in range(2 * SHARE + 1):
        status, _ = await post(api, b" " * (BODY_BYTES_MAX + 1))
        assert status == 413
    assert (await post(api, large_job()))[0] == 201
