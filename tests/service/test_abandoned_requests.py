"""A client that leaves before its request is whole is no bug of ours."""

import asyncio
from contextlib import suppress

import structlog.testing

from tests.support.house import new_tenant, run_house
from tests.support.waiting import until


async def leave(house, tenant, seconds):
    """Begin a request, and be gone *seconds* later."""
    port = int(house.base_url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n"
        b"Authorization: Bearer " + tenant.api_key.encode() + b"\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def test_a_client_that_leaves_is_no_error(database_url, nats_url):
    tenant = await new_tenant(database_url)
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        with structlog.testing.capture_logs() as logs:

            def told():
                return [one for one in logs if one["event"].startswith("request.")]

            # Who leaves before the handler reads the body is told of nowhere: stay a
            # little longer each time.
            for tenths in range(1, 10):
                await leave(house, tenant, tenths / 10)
                with suppress(AssertionError):
                    await until(told, at_most=1)
                    break
    assert {one["event"] for one in told()} == {"request.abandoned"}
    assert [one for one in logs if one["log_level"] == "error"] == []
