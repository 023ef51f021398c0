"""Workflows: a diamond of workers' jobs and a webhook, again and again."""

import asyncio
import random
from itertools import count

from tests.chaos.asking import Client
from tests.chaos.labour import STEPS
from tests.chaos.producers import PATIENT, RETRY
from tests.chaos.receivers import TIMEOUT_SECONDS
from tests.support.flows import step


def diamond(number: int, url: str):
    """Return its jobs: a webhook on one side, a key that many share on the other."""
    patient = {"max_retries": PATIENT, "queue_name": STEPS, "retry": RETRY}
    target = {"url": url, "timeout_seconds": TIMEOUT_SECONDS}
    return [
        step("top", **patient),
        step("sent", "top", **patient, target=target),
        step("worked", "top", **patient, concurrency_key=f"key {number % 3}"),
        step("end", "sent", "worked", **patient),
        step("mourn", "end", dependency_type="failure", queue_name=STEPS),
    ]


async def create_flows(
    client: Client, luck: random.Random, url: str, stopping: asyncio.Event, *, rate
) -> None:
    """Create workflows until stopped, each until it is answered."""
    tenant = str(client.tenant.id)
    for number in count():
        if stopping.is_set():
            return
        steps = diamond(number, url)
        key = f"{tenant} flow {number}"
        body = {"name": "Flow", "jobs": steps, "idempotency_key": key}
        answer = await client.surely("POST", "/workflows", body)
        if answer is None:
            return
        assert answer.status in {200, 201}, answer
        jobs = {made["key"]: made["job_id"] for made in answer.body["job_ids"]}
        flow = answer.body["workflow_id"]
        client.history.note("flow", flow=flow, key=key, jobs=jobs)
        for one in steps:
            client.history.note(
                "accepted",
                jobs[one["key"]],
                kind="mourn" if one["key"] == "mourn" else "step",
                after=[jobs[parent] for parent in one.get("depends_on", [])],
                tenant=tenant,
            )
        await asyncio.sleep(luck.expovariate(rate))
