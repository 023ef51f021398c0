"""Awa, whose engine is compiled: COPY for many jobs, several claimers for workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import awa

from bench.peers.adapter import main
from bench.peers.handler import Handle, for_ever
from bench.peers.plans import Plan
from bench.peers.producing import Payload, Producer

_QUEUE = "bench"
_KIND = "order"


class AwaPeer:
    """Settings: pool, and of workers at_once, claimers, claim_batch."""

    distribution = "awa-pg"

    async def set_up(self, plan: Plan) -> None:
        """Make the tables."""
        async with awa.AsyncClient(plan.url) as client:
            await client.migrate()
            await client.install_queue_storage()

    @asynccontextmanager
    async def open_producer(self, plan: Plan) -> AsyncIterator[Producer]:
        """Give what creates jobs."""
        async with _client(plan) as client:

            async def enqueue(payload: Payload) -> object:
                job = await client.insert(payload, kind=_KIND, queue=_QUEUE)
                return job.id

            async def enqueue_many(payloads: list[Payload]) -> object:
                return await client.enqueue_many_copy(
                    payloads, kind=_KIND, queue=_QUEUE
                )

            yield Producer(enqueue, enqueue_many)

    async def work(self, plan: Plan, handle: Handle) -> None:
        """Handle jobs until the process is ended."""
        async with _client(plan) as client:

            @client.task(dict, kind=_KIND, queue=_QUEUE)  # type: ignore[untyped-decorator]
            async def work(job: "awa.Job[Payload]") -> None:
                await handle(job.id, job.args)

            await client.start(
                [
                    {
                        "name": _QUEUE,
                        "max_workers": plan.settings["at_once"],
                        "claimers": plan.settings["claimers"],
                        "claim_batch_size": plan.settings["claim_batch"],
                    }
                ]
            )
            await for_ever()


def _client(plan: Plan) -> awa.AsyncClient:
    return awa.AsyncClient(plan.url, max_connections=plan.settings["pool"])


if __name__ == "__main__":
    main(AwaPeer())
