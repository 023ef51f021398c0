"""PgQueuer, as its documents advise it for many small jobs: large batches."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.adapter import main
from bench.peers.handler import Handle
from bench.peers.plans import Plan
from bench.peers.producing import Payload, Producer

_ENTRYPOINT = "bench"


class PgQueuerPeer:
    """Settings: pool, and of workers batch, tasks_max, at_once."""

    distribution = "pgqueuer"

    async def set_up(self, plan: Plan) -> None:
        """Make the tables, durable ones as is the default."""
        conn = await asyncpg.connect(plan.url)
        try:
            await Queries(AsyncpgDriver(conn)).install()
        finally:
            await conn.close()

    @asynccontextmanager
    async def open_producer(self, plan: Plan) -> AsyncIterator[Producer]:
        """Give what creates jobs."""
        async with _driver(plan) as driver:
            queries = Queries(driver)

            async def enqueue(payload: Payload) -> object:
                return (await queries.enqueue(_ENTRYPOINT, _bytes(payload)))[0]

            async def enqueue_many(payloads: list[Payload]) -> object:
                number = len(payloads)
                return await queries.enqueue(
                    [_ENTRYPOINT] * number, list(map(_bytes, payloads)), [0] * number
                )

            yield Producer(enqueue, enqueue_many)

    async def work(self, plan: Plan, handle: Handle) -> None:
        """Handle jobs until the process is ended."""
        async with _driver(plan) as driver:
            peer = PgQueuer(driver)
            at_once = asyncio.Semaphore(plan.settings["at_once"])

            @peer.entrypoint(_ENTRYPOINT)  # type: ignore[untyped-decorator]
            async def work(job: Job) -> None:
                async with at_once:
                    await handle(job.id, job.payload)

            await peer.run(
                batch_size=plan.settings["batch"],
                max_concurrent_tasks=plan.settings["tasks_max"],
            )


@asynccontextmanager
async def _driver(plan: Plan) -> AsyncIterator[AsyncpgPoolDriver]:
    pool = await asyncpg.create_pool(
        plan.url, min_size=4, max_size=plan.settings["pool"]
    )
    async with AsyncpgPoolDriver(pool) as driver:
        yield driver


def _bytes(payload: Payload) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(PgQueuerPeer())
