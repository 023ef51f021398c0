"""The published client creates workflows, and its worker runs them in order."""

import asyncio
import threading
import time

import pytest
from spooled.errors import SpooledError
from spooled.worker.worker import SpooledWorker

from tests.support.official import open_official
from tests.support.waiting import until

DIAMOND = {
    "name": "Diamond (4)",
    "description": "four",
    "metadata": {"n": 4},
    "jobs": [
        {"key": "a", "queue_name": "mail", "payload": {"step": "a"}},
        *(
            {
                "key": key,
                "queue_name": "mail",
                "payload": {"step": key},
                "depends_on": ["a"],
            }
            for key in "bc"
        ),
        {
            "key": "d",
            "queue_name": "mail",
            "payload": {"step": "d", "sum": "{{parents.b.result.step}}"},
            "depends_on": ["b", "c"],
            "dependency_mode": "all",
        },
    ],
}


async def test_a_worker_runs_a_diamond_in_order(house, tenant, api):
    seen = []
    ended = {}
    async with open_official(house, blocking=True, api_key=tenant.api_key) as client:
        worker = SpooledWorker(
            client.client, "mail", concurrency=4, poll_interval=0.05, worker_id="sync"
        )

        @worker.process
        def handle(context):
            seen.append(context.payload)
            ended["at"] = time.monotonic()
            return {"step": context.payload["step"]}

        thread = threading.Thread(target=worker.start)
        thread.start()
        try:
            made = await client("workflows.create", DIAMOND)

            async def is_completed():
                found = await client("workflows.get", made.workflow_id)
                return found if found.status == "completed" else None

            over = await until(is_completed, at_most=20)
            took = time.monotonic() - ended["at"]
            print(f"read as completed {took:.3f} s after its last job")
        finally:
            await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(thread.join, 20)
        listed = await client("workflows.list", {"status": "completed"})
        rows = await client("workflows.jobs.list", made.workflow_id)

    steps = [one["step"] for one in seen]
    assert steps[0] == "a"
    assert set(steps[1:3]) == {"b", "c"}
    assert seen[3] == {"step": "d", "sum": "b"}
    assert (over.total_jobs, over.completed_jobs, over.failed_jobs) == (4, 4, 0)
    assert over.progress_percent == 100
    assert over.completed_at is not None
    assert [one.id for one in listed] == [made.workflow_id]
    assert [row.key for row in rows] == ["a", "b", "c", "d"]
    assert {row.status for row in rows} == {"completed"}
    assert rows[0].result == {"step": "a"}


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_client_creates_cancels_and_looks(house, tenant, api, blocking):
    key = tenant.api_key
    async with open_official(house, blocking=blocking, api_key=key) as client:
        made = await client("workflows.create", DIAMOND)
        assert made.status == "pending"
        ids = {one.key: one.job_id for one in made.job_ids}
        family = await client("workflows.jobs.get_dependencies", ids["d"])
        assert {one.job_id for one in family.dependencies} == {ids["b"], ids["c"]}
        row = await client("workflows.jobs.get", made.workflow_id, ids["b"])
        assert row.depends_on == [ids["a"]]
        statuses = await client("workflows.jobs.get_status", made.workflow_id)
        assert [one.key for one in statuses] == ["a", "b", "c", "d"]

        stopped = await client("workflows.cancel", made.workflow_id)

        assert stopped.status == "cancelled"
        with pytest.raises(SpooledError, match="Only failed workflows"):
            await client("workflows.retry", made.workflow_id)
        step = {"key": "a", "queue_name": "mail", "payload": 1}
        wrong = {"name": "Wrong", "jobs": [{**step, "depends_on": ["nobody"]}]}
        with pytest.raises(SpooledError, match="nobody"):
            await client("workflows.create", wrong)
