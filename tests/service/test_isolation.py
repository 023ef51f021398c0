"""One endpoint hangs with thousands of jobs waiting; another hardly notices.

``python -m bench.isolation`` measures the same with fifty thousand, in processes.
"""

import asyncio
import math

import pytest

from tests.support.endpoint import HANG, run_endpoint
from tests.support.endpoints import create_endpoint, fill
from tests.support.waiting import until

WAITING = 2_000
PROBES = 60


async def latencies(api, made, receiver):
    """Send jobs one after the other; return how long each was on its way, sorted."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(PROBES):
        receiver.requests.clear()
        job_id = await api.create({"endpoint_id": made["id"]}, queue_name="webhooks")
        accepted = loop.time()
        [arrived] = await receiver.received(1)
        assert arrived.id == job_id
        found.append(max(arrived.at - accepted, 0.0) * 1000)
    return sorted(found)


def of(found, share):
    return found[math.ceil(len(found) * share) - 1]


@pytest.mark.usefixtures("house", "carrying")
async def test_an_endpoint_that_hangs_delays_nobody_else(api, conn, capsys):
    async with run_endpoint() as hanging, run_endpoint() as receiver:
        hanging.otherwise = HANG
        healthy = await create_endpoint(api, url=receiver.url)
        stuck = await create_endpoint(api, url=hanging.url, timeout_seconds=30)
        alone = await latencies(api, healthy, receiver)

        await fill(conn, stuck, WAITING)
        await until(lambda: hanging.under_way == 10)
        beside = await latencies(api, healthy, receiver)

        with capsys.disabled():
            print(
                f"\none endpoint hangs with {WAITING} jobs waiting; another's are sent"
            )
            for name, found in (("alone", alone), ("beside it", beside)):
                print(
                    f"  {name:10} p50 {of(found, 0.5):6.1f} ms"
                    f"  p99 {of(found, 0.99):6.1f} ms"
                )
            print(
                f"  ratio      p50 {of(beside, 0.5) / of(alone, 0.5):6.2f}   "
                f"  p99 {of(beside, 0.99) / of(alone, 0.99):6.2f}"
            )
        assert hanging.under_way == 10
        assert (
            await conn.fetchval(
                "SELECT count(*) FROM ready JOIN lanes ON lanes.id = lane_id"
                " WHERE endpoint_id = $1::text::uuid",
                stuck["id"],
            )
            == WAITING - 10
        )
