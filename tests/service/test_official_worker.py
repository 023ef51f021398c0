"""`SpooledWorker`, blocking and async, works through a queue of ours."""

import asyncio
import threading

import pytest
from spooled.worker.async_worker import AsyncSpooledWorker
from spooled.worker.worker import SpooledWorker

from tests.support.official import open_official
from tests.support.waiting import until


async def statistics(api):
    return await api.ask("GET", "/jobs/stats", expect=200)


async def test_the_blocking_worker_completes_and_fails(house, tenant, api):
    for n in range(20):
        await api.create(payload={"n": n}, max_retries=0)
    seen = []
    async with open_official(house, blocking=True, api_key=tenant.api_key) as client:
        worker = SpooledWorker(
            client.client, "mail", concurrency=4, poll_interval=0.05, worker_id="sync"
        )

        @worker.process
        def handle(context):
            seen.append(context.payload["n"])
            if context.payload["n"] == 7:
                raise ValueError("seven is not for us")
            return {"doubled": 2 * context.payload["n"]}

        thread = threading.Thread(target=worker.start)
        thread.start()
        try:

            async def all_ended():
                stats = await statistics(api)
                return stats["completed"] == 19 and stats["deadletter"] == 1

            await until(all_ended, at_most=20)
            (row,) = await api.ask("GET", "/workers", expect=200)
        finally:
            await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(thread.join, 20)

    assert sorted(seen) == list(range(20))
    assert row["id"] == "sync"
    (dead,) = await api.ask("GET", "/jobs/dlq", expect=200)
    assert "seven is not for us" in dead["last_error"]


async def test_the_async_worker_keeps_a_long_job(house, tenant, api):
    job_id = await api.create(payload={})
    release = asyncio.Event()
    async with open_official(house, blocking=False, api_key=tenant.api_key) as client:
        worker = AsyncSpooledWorker(
            client.client,
            "mail",
            poll_interval=0.05,
            lease_duration=5,
            heartbeat_fraction=0.2,
        )

        @worker.process
        async def handle(context):
            await release.wait()
            return {"kept": True}

        running = asyncio.create_task(worker.start())
        try:
            first = await api.until_status(job_id, "processing")

            async def was_renewed():
                job = await api.job(job_id)
                return job["lease_expires_at"] > first["lease_expires_at"]

            await until(was_renewed, at_most=10)
            release.set()
            job = await api.until_status(job_id, "completed")
        finally:
            await worker.stop()
            await asyncio.wait_for(running, 20)

    assert job["result"] == {"kept": True}
    assert job["attempt"] == 1


@pytest.mark.parametrize("order", [range(3), reversed(range(3))], ids=["up", "down"])
async def test_workers_get_the_most_urgent_first(house, tenant, api, order):
    for priority in order:
        await api.create(payload={"p": priority}, priority=priority)
    seen = []
    async with open_official(house, blocking=False, api_key=tenant.api_key) as client:
        worker = AsyncSpooledWorker(
            client.client, "mail", concurrency=1, poll_interval=0.02
        )

        @worker.process
        async def handle(context):
            seen.append(context.payload["p"])

        running = asyncio.create_task(worker.start())
        try:
            await until(lambda: asyncio.sleep(0, len(seen) == 3), at_most=10)
        finally:
            await worker.stop()
            await asyncio.wait_for(running, 20)

    assert seen == [2, 1, 0]
