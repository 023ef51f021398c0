"""A backlog of large payloads takes up little memory, whoever carries it."""

import asyncio
import base64
import random

import pytest

from bench.large import SERVICE_MB_MAX
from bench.memory import peak_mb
from tests.support.endpoint import Answer
from tests.support.waiting import until

JOBS = 100
PAYLOAD = base64.b64encode(random.Random(1).randbytes(780_000)).decode()


async def create_all(api, **fields):
    """Create the jobs, a few at a time."""
    left = iter(range(JOBS))

    async def produce():
        return [
            await api.create(payload=f"{number} {PAYLOAD}", **fields) for number in left
        ]

    made = await asyncio.gather(*(produce() for _ in range(8)))
    return {job_id for each in made for job_id in each}


async def work_all(api):
    """Claim and complete in batches as large as may be; return what was claimed."""
    done: list[str] = []

    async def work(name):
        while len(done) < JOBS:
            asked = {"queue_name": "work", "worker_id": name, "limit": 100}
            given = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
            for job in given["jobs"]:
                assert job["payload"].endswith(PAYLOAD)
                await api.ask(
                    "POST",
                    f"/jobs/{job['id']}/complete",
                    json={"worker_id": name, "lease_id": job["lease_id"]},
                    expect=200,
                )
                done.append(job["id"])

    await asyncio.gather(*(work(f"worker {n}") for n in range(4)))
    return done


@pytest.mark.timeout(240)
async def test_no_service_needs_much_memory_for_a_backlog_of_large_payloads(
    processes, api, endpoint
):
    endpoint.otherwise = Answer(delay_seconds=0.5)
    sent = await create_all(api, target={"url": endpoint.url})
    work = await create_all(api, queue_name="work")

    done = await work_all(api)
    await until(lambda: len(set(endpoint.ids)) == JOBS, at_most=120)

    assert sorted(done) == sorted(work)
    assert sorted(endpoint.ids) == sorted(sent)
    most = {name: peak_mb(one.pid) for name, one in processes.running.items()}
    print(most)
    assert max(most.values()) < SERVICE_MB_MAX, most
