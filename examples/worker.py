"""A worker, and a producer for it, with the worker kit.

    export BELLHOP_GRPC_URL=http://127.0.0.1:50051 BELLHOP_API_KEY=sk_live_…
    export PYTHONPATH=.                           # in the source tree
    python examples/worker.py                     # works, until Ctrl-C
    python examples/worker.py greet Ada Grace     # hands jobs in

``pip install '.[worker]'`` brings what it needs.
"""

import asyncio
import os
import sys
import time
from typing import Any

from libs.worker import Fatal, Job, NewJob, Producer, Retry, Worker, current_job

URL = os.environ["BELLHOP_GRPC_URL"]
API_KEY = os.environ["BELLHOP_API_KEY"]

worker = Worker(URL, API_KEY, drain_seconds=20)


@worker.handler("greetings", concurrency=20)
async def greet(job: Job) -> dict[str, Any]:
    """Greet somebody; a coroutine, so that many wait at once."""
    name = job.payload.get("name")
    if not name:
        raise Fatal("nobody to greet")  # trying again will not find a name
    if name == "Moody" and job.retry_count == 0:
        raise Retry("not in the mood", after=1)
    await asyncio.sleep(0.1)
    log(f"Hello, {name}!")
    return {"greeting": f"Hello, {name}!"}


@worker.handler("sums", concurrency=2, lease_seconds=10)
def add(job: Job) -> dict[str, Any]:
    """Add numbers; no coroutine, so it has a thread of its own."""
    time.sleep(0.1)
    return {"sum": sum(job.payload["add"])}


async def hand_in(names: list[str]) -> None:
    """Make a job for each name; handed in twice, each is still one job."""
    jobs = [NewJob(payload={"name": n}, idempotency_key=f"greet-{n}") for n in names]
    async with Producer(URL, API_KEY) as producer:
        for made in await producer.enqueue_many("greetings", jobs):
            print(made)


def log(text: str) -> None:
    """Say something of the job at hand, wherever we are called from."""
    print(f"{current_job().id}  {text}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["greet"]:
        asyncio.run(hand_in(sys.argv[2:]))
    else:
        worker.main()
