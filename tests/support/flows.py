"""Workflows from outside: how they are asked for, worked on and looked at.

And, for tests of the store, made there (`build`).
"""

from libs.common.ids import new_id
from libs.common.store import jobs, workflows
from libs.common.store.workflows import Edge, NewWorkflow
from tests.support import stock

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


async def build(conn, line, steps, *, policy="continue", kind="success", fields=None):
    """Create a workflow of *steps*: its id, and its jobs by their keys.

    *steps* says for each key which others it waits for, *fields* what else it has.
    """
    flow, ids = new_id(), {key: new_id() for key in steps}
    new = NewWorkflow(
        id=flow,
        organization_id=line.organization_id,
        name="flow",
        description=None,
        metadata=None,
        policy=policy,
        queue_names=[line.queue_name],
        total_jobs=len(steps),
    )
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')"
            " ON CONFLICT DO NOTHING",
            line.organization_id,
        )
        await workflows.create_workflow(conn, new=new)
        made = [
            stock.new_job(
                line,
                id=ids[key],
                workflow_id=flow,
                edges=len(parents) or None,
                **(fields or {}).get(key, {}),
            )
            for key, parents in steps.items()
        ]
        await jobs.create(conn, jobs=made)
        await workflows.add_jobs(conn, workflow_id=flow, jobs=list(ids.items()))
        await workflows.add_edges(
            conn,
            edges=[
                Edge(ids[key], ids[parent], "all", kind)
                for key, parents in steps.items()
                for parent in parents
            ],
        )
    return flow, ids


async def state_of(conn, flow):
    """Return how a workflow stands."""
    return await conn.fetchval("SELECT state FROM workflows WHERE id = $1", flow)
