"""Procrastinate, with several workers a process, and finished jobs deleted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.tasks import Task

from bench.peers.adapter import main
from bench.peers.handler import Handle
from bench.peers.plans import Plan
from bench.peers.producing import Payload, Producer

_QUEUE = "bench"


class ProcrastinatePeer:
    """Settings: pool, and of workers workers, at_once."""

    distribution = "procrastinate"

    async def set_up(self, plan: Plan) -> None:
        """Make the tables."""
        app, _ = _app(plan)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def open_producer(self, plan: Plan) -> AsyncIterator[Producer]:
        """Give what creates jobs."""
        app, task = _app(plan)

        async def enqueue(payload: Payload) -> object:
            return await task.defer_async(**payload)

        async def enqueue_many(payloads: list[Payload]) -> object:
            return await task.batch_defer_async(*payloads)

        async with app.open_async():
            yield Producer(enqueue, enqueue_many)

    async def work(self, plan: Plan, handle: Handle) -> None:
        """Handle jobs until the process is ended."""
        app, _ = _app(plan, handle)
        async with app.open_async():
            await asyncio.gather(
                *(
                    app.run_worker_async(
                        queues=[_QUEUE],
                        name=f"worker-{number}",
                        concurrency=plan.settings["at_once"],
                        delete_jobs="successful",
                        install_signal_handlers=False,
                    )
                    for number in range(plan.settings["workers"])
                )
            )


def _app(plan: Plan, handle: Handle | None = None) -> tuple[App, Task[Any, Any, Any]]:
    app = App(
        connector=PsycopgConnector(
            conninfo=plan.url, min_size=4, max_size=plan.settings.get("pool", 4)
        )
    )

    async def work(context: JobContext, **payload: Any) -> None:
        assert handle is not None
        await handle(context.job.id, payload)

    return app, app.task(work, name="bench", queue=_QUEUE, pass_context=True)


if __name__ == "__main__":
    main(ProcrastinatePeer())
