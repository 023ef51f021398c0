"""Whatever happens to jobs that wait for jobs, nobody waits in a circle.

Several connections do what services do, each as fast as it can, to jobs that hang
together in all ways; in the end everybody who need not wait has been let go.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import get_args

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.dependents import sweep_workflows
from libs.common.store import (
    dependencies,
    interventions,
    invariants,
    settlement,
    timers,
    workflows,
)
from tests.support import stock
from tests.support.flows import build
from tests.support.rivals import cancel

FLOWS = 3
JOBS = 24
AT_ONCE = 6
TURNS = 120
HOWS = ["completed", "completed", "completed", "deadlettered", "retrying"]
KINDS = [*get_args(dependencies.Kind), "success"]


@pytest.fixture
async def several(database_url):
    """Connections as the services have them."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(AT_ONCE):
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            opened.append(conn)
        yield opened


class Storm:
    """What may happen, by luck, on one connection."""

    def __init__(self, conn, line, flows, seed):
        self.conn, self.line, self.flows = conn, line, flows
        self.jobs = [id_ for _, ids in flows for id_ in ids.values()]
        self.luck = random.Random(seed)

    async def run(self):
        doing = [self.work] * 8 + [self.cancel, self.look, self.stop, self.requeue]
        doing += [self.depend, self.depend, self.expire]
        for _ in range(TURNS):
            await self.luck.choice(doing)()

    async def work(self):
        works = await stock.claim(self.conn, self.line, self.luck.randint(1, 6))
        attempts = [
            stock.worked(self.line, work, self.luck.choice(HOWS), owner="pod")
            for work in works
        ]
        if attempts:
            await settlement.settle(self.conn, attempts=attempts, actor="")

    async def cancel(self):
        await cancel(self.conn, self.line, self.luck.choice(self.jobs))

    async def look(self):
        looks = 1
        while looks:
            looks, looked = await dependencies.release(self.conn, limit=50)
            await sweep_workflows(self.conn, ids=looked.sweeping)

    async def stop(self):
        if self.luck.random() < 0.2:
            flow, _ = self.luck.choice(self.flows)
            organization_id = self.line.organization_id
            await workflows.stop(self.conn, organization_id=organization_id, id_=flow)
            await sweep_workflows(self.conn, ids=[flow])

    async def requeue(self):
        await interventions.requeue(
            self.conn,
            organization_id=self.line.organization_id,
            job_ids=sorted(self.luck.sample(self.jobs, 10)),
            actor="key",
        )

    async def depend(self):
        child, *parents = self.luck.sample(self.jobs, 3)
        async with self.conn.transaction():
            await dependencies.lock_graph(
                self.conn, organization_id=self.line.organization_id
            )
            await dependencies.depend(
                self.conn,
                job_id=child,
                parents=parents,
                mode=self.luck.choice(get_args(dependencies.Mode)),
                kind=self.luck.choice(KINDS),
                actor="key",
            )

    async def expire(self):
        await self.conn.execute(
            "INSERT INTO expiries (expires_at, job_id)"
            " SELECT now(), unnest($1::uuid[]) ON CONFLICT DO NOTHING",
            self.luck.sample(self.jobs, 2),
        )
        await timers.expire(self.conn, limit=10)
        await timers.promote_due(self.conn, limit=50)


def a_graph(luck):
    """Return jobs that wait for some of those before them; ids come in any order."""
    steps: dict[str, list[str]] = {}
    for number in range(JOBS):
        before = list(steps)
        steps[f"step-{number}"] = luck.sample(
            before, min(len(before), luck.randint(0, 3))
        )
    keys = luck.sample(list(steps), JOBS)
    return {key: steps[key] for key in keys}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
async def test_nobody_waits_in_a_circle_and_nobody_is_forgotten(conn, several, seed):
    line = await stock.open_line(conn, push=False)
    luck = random.Random(seed)
    flows = [
        await build(
            conn,
            line,
            a_graph(luck),
            policy=luck.choice(["continue", "fail_fast"]),
            kind=luck.choice(KINDS),
        )
        for _ in range(FLOWS)
    ]

    storms = [
        Storm(own, line, flows, seed * AT_ONCE + number)
        for number, own in enumerate(several)
    ]
    await asyncio.gather(*(storm.run() for storm in storms))

    await conn.execute("UPDATE rechecks SET at = now()")
    await storms[0].look()
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.forgotten(conn) == []
    stuck = await conn.fetch(
        "SELECT id FROM workflows"
        " WHERE state IN ('pending', 'running') AND NOT has_open_jobs(id)"
    )
    assert stuck == []
