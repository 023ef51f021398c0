"""Workflows from outside: how they are asked for, worked on and looked at."""

WORKER = "worker-1"
QUEUE = "steps"


def step(key, *parents, **fields):
    """Return a job of a workflow that waits for *parents*."""
    return {
        "key": key,
        "queue_name": QUEUE,
        "payload": {"step": key},
        "max_retries": 0,
        **({"depends_on": list(parents)} if parents else {}),
        **fields,
    }


async def create(api, *steps, expect=200, **fields):
    """Create a workflow of *steps*."""
    body = {"name": "Flow", "jobs": list(steps), **fields}
    return await api.ask("POST", "/workflows", json=body, expect=expect)


async def read(api, id_):
    """Return a workflow, whole."""
    return await api.ask("GET", f"/workflows/{id_}", expect=200)


async def claim(api, *, limit=100):
    """Claim what there is; return the jobs by their steps."""
    asked = {"queue_name": QUEUE, "worker_id": WORKER, "limit": limit}
    answer = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    return {job["payload"]["step"]: job for job in answer["jobs"]}


async def complete(api, job, result=None):
    """Complete a job that was claimed."""
    body = {"worker_id": WORKER, "lease_id": job["lease_id"], "result": result}
    await api.ask("POST", f"/jobs/{job['id']}/complete", json=body, expect=200)


async def give_up(api, job):
    """Fail a job that was claimed, for good."""
    body = {"worker_id": WORKER, "lease_id": job["lease_id"], "error": "no use"}
    await api.ask("POST", f"/jobs/{job['id']}/fail", json=body, expect=200)


def states(detail):
    """Return how the jobs of a workflow stand, by their keys."""
    return {job["key"]: job["status"] for job in detail["jobs"]}


async def events(conn, workflow_id):
    """Return what was told of a workflow."""
    return [
        row["event"].removeprefix("workflow.")
        for row in await conn.fetch(
            "SELECT event FROM notices WHERE data ->> 'workflow_id' = $1 ORDER BY seq",
            workflow_id,
        )
    ]
