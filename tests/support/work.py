"""A worker's side of the API, for tests."""

from typing import Any

import asyncpg

MISMATCH = (
    "lease_id does not match the job's current lease; this worker no longer holds it"
)
EXPIRED = {
    "complete": "Job lease expired before completion",
    "fail": "Job lease expired before failure was reported",
    "heartbeat": "Job lease expired and cannot be extended",
}
BODIES: dict[str, dict[str, Any]] = {
    "complete": {},
    "fail": {"error": "no luck"},
    "heartbeat": {"lease_duration_secs": 30},
}


async def claim(api, *, worker="w1", queue="mail", limit=1, **fields):
    """Claim; return the jobs."""
    body = {"queue_name": queue, "worker_id": worker, "limit": limit, **fields}
    answer = await api.ask("POST", "/jobs/claim", json=body, expect=200)
    return answer["jobs"]


async def claimed_job(api, **fields):
    """Create a job and claim it as ``w1``."""
    job_id = await api.create(**fields)
    [job] = await claim(api)
    assert job["id"] == job_id
    return job


async def say(api, verb, job, *, expect=200, worker="w1", **fields):
    """Say something of a job; return the answer."""
    job_id = job if isinstance(job, str) else job["id"]
    body = {"worker_id": worker, **BODIES[verb], **fields}
    return await api.ask("POST", f"/jobs/{job_id}/{verb}", json=body, expect=expect)


async def refused(api, verb, job, status, **fields):
    """Say something that is refused; return code and message."""
    said = await say(api, verb, job, expect=status, **fields)
    return said["code"], said["message"]


async def all_refused(api, job, status, **fields):
    """Say everything, which is refused; return code and message of each."""
    return {verb: await refused(api, verb, job, status, **fields) for verb in BODIES}


async def let_leases_run_out(house):
    conn = await asyncpg.connect(house.database_url)
    try:
        await conn.execute("UPDATE leased SET deadline = now() - interval '1 second'")
    finally:
        await conn.close()
