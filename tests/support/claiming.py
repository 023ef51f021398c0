"""Workers who ask for jobs over REST, and wait for them."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from libs.cli.embedded.ports import free_port
from libs.common.metrics import BATCH_SIZE
from tests.support.house import answers, open_api
from tests.support.waiting import until


async def claim(api, *, expect=200, **fields):
    """Claim as ``w1`` from ``mail``; return the jobs."""
    body = {"queue_name": "mail", "worker_id": "w1", **fields}
    answer = await api.ask("POST", "/jobs/claim", json=body, expect=expect)
    return answer["jobs"] if expect == 200 else answer


def asked(batch="claim"):
    """Return how many claims looked into lanes so far, and in how many statements.

    With *batch* the same of another batcher.
    """
    samples = {
        sample.name: sample.value
        for metric in BATCH_SIZE.collect()
        for sample in metric.samples
        if sample.labels.get("batch") == batch
    }
    return (
        samples.get("bellhop_batch_size_items_sum", 0.0),
        samples.get("bellhop_batch_size_items_count", 0.0),
    )


@asynccontextmanager
async def looked(claims=1):
    """Return from the block when so many more claims have looked."""
    before, _ = asked()
    yield
    await until(lambda: asked()[0] >= before + claims)


async def in_line(api, **fields):
    """Return a claim that has found nothing and waits."""
    async with looked():
        return asyncio.create_task(claim(api, **{"wait_seconds": 20, **fields}))


async def timed(awaitable):
    """Return what *awaitable* returns, and after how many seconds."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    return await awaitable, loop.time() - begun


@asynccontextmanager
async def second_ingest(house, tenant):
    """Another replica of ingest, and a client of it."""
    port = free_port()
    other = replace(house, base_url=f"http://127.0.0.1:{port}")
    await house.start("ingest#2", http_port=port)
    await until(lambda: answers(other.base_url))
    async with open_api(other, tenant) as api:
        yield api
