"""Any order of what can happen to workflows leaves each as a plain model says.

The model knows only jobs, edges and what became of them; the tables must agree after
every step, and with themselves.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from libs.common.db import BY_KEY
from libs.common.dependents import sweep_workflows
from libs.common.ids import new_id
from libs.common.store import (
    dependencies,
    interventions,
    invariants,
    jobs,
    settlement,
    workflows,
)
from libs.common.store.claims import ClaimedWork
from libs.common.store.workflows import Edge, NewWorkflow
from tests.model.flowing import ENDED, Flow, Step
from tests.support import stock


class Flows(RuleBasedStateMachine):
    """One example: an organization, its workflows, and a worker."""

    runner: asyncio.Runner
    url: str
    retried: Counter[str]
    births: Iterator[int]

    def __init__(self):
        super().__init__()
        self.luck = random.Random(0)
        self.flows: list[Flow] = []
        self.held: dict[UUID, ClaimedWork] = {}
        self.conn = self.do(
            asyncpg.connect(self.url, server_settings={"jit": "off", **BY_KEY})
        )
        self.line = self.do(self._found())

    def new_id(self):
        """Return an id that comes after all others: so their order is the same."""
        return UUID(int=next(self.births))

    def do(self, waiting):
        return self.runner.run(_await(waiting))

    async def _found(self):
        id_ = new_id()
        await self.conn.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', $2)",
            id_,
            f"acme-{id_}",
        )
        return await stock.open_line(self.conn, organization_id=id_, push=False)

    def teardown(self):
        self.do(self.conn.close())

    # --- what happens -----------------------------------------------------------------

    @precondition(lambda self: len(self.flows) < 3)
    @rule(seed=st.integers(0, 2**32))
    def create(self, seed):
        self.luck.seed(seed)
        flow = Flow(self.new_id(), self.luck.choice(["continue", "fail_fast"]))
        steps = self._steps(flow, self.luck.randint(1, 6))
        self.do(self._create(flow, steps))
        self.flows.append(flow)
        self._look()

    async def _create(self, flow, steps):
        async with self.conn.transaction():
            await workflows.create_workflow(
                self.conn,
                new=NewWorkflow(
                    id=flow.id,
                    organization_id=self.line.organization_id,
                    name="flow",
                    description=None,
                    metadata=None,
                    policy=flow.policy,
                    queue_names=["mail"],
                    total_jobs=len(steps),
                ),
            )
            await self._add(flow, steps)

    async def _add(self, flow, steps):
        new = [
            stock.new_job(
                self.line,
                id=step.id,
                max_retries=0,
                workflow_id=flow.id,
                edges=len(step.parents) or None,
            )
            for step in steps
        ]
        await jobs.create(self.conn, jobs=new)
        await workflows.add_jobs(
            self.conn,
            workflow_id=flow.id,
            jobs=[(str(step.id), step.id) for step in steps],
        )
        edges = [
            Edge(step.id, parent, step.mode, kind)
            for step in steps
            for parent, kind in step.parents.items()
        ]
        if edges:
            await workflows.add_edges(self.conn, edges=edges)

    def _steps(self, flow, count):
        made = []
        for _ in range(count):
            known = list(flow.steps)
            parents = self.luck.sample(known, self.luck.randint(0, min(3, len(known))))
            kinds = ["success", "success", "success", "completion", "failure"]
            step = Step(
                self.new_id(),
                "waiting" if parents else "ready",
                self.luck.choice(["all", "all", "any"]),
                {parent: self.luck.choice(kinds) for parent in parents},
            )
            flow.steps[step.id] = step
            made.append(step)
        return made

    @precondition(lambda self: self.in_state("ready"))
    @rule(count=st.integers(1, 6))
    def claim(self, count):
        ready = {
            step.id: flow
            for flow in self.flows
            for step in flow.steps.values()
            if step.state == "ready"
        }
        found = self.do(stock.claim(self.conn, self.line, count))
        assert len(found) == min(count, len(ready))
        for work in found:
            flow = ready[work.job_id]
            assert work.workflow_id == flow.id
            flow.steps[work.job_id].state = "leased"
            self.held[work.job_id] = work
            if flow.state == "pending":
                flow.state = "running"
                flow.told.append("started")

    @precondition(lambda self: self.held)
    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 6), fails=st.booleans())
    def settle(self, seed, count, fails):
        self.luck.seed(seed)
        ids = sorted(self.held)
        chosen = self.luck.sample(ids, min(count, len(ids)))
        how = "deadlettered" if fails else "completed"
        attempts = [
            stock.worked(self.line, self.held.pop(id_), how, owner="pod")
            for id_ in sorted(chosen)
        ]
        closed = self.do(settlement.settle(self.conn, attempts=attempts, actor=""))
        assert len(closed) == len(attempts)
        for id_ in chosen:
            flow = self._flow_of(id_)
            flow.end(flow.steps[id_], "dead" if fails else "completed")
        self._look()

    @precondition(lambda self: self.flows)
    @rule(seed=st.integers(0, 2**32))
    def cancel_a_workflow(self, seed):
        self.luck.seed(seed)
        if self.luck.random() < 0.8:
            return
        flow = self.luck.choice(self.flows)
        stopped = self.do(
            workflows.stop(
                self.conn, organization_id=self.line.organization_id, id_=flow.id
            )
        )
        assert stopped == (flow.state in {"pending", "running"})
        if stopped:
            flow.state = "cancelled"
            flow.told.append("cancelled")
            flow.noted = True
        self._look()

    @precondition(lambda self: self.in_state("ready", "waiting"))
    @rule(seed=st.integers(0, 2**32))
    def cancel_a_job(self, seed):
        self.luck.seed(seed)
        idle = [(flow, step) for flow in self.flows for step in flow.idle()]
        if self.luck.random() < 0.7:
            return
        flow, step = self.luck.choice(idle)
        assert self.do(
            interventions.cancel(
                self.conn,
                organization_id=self.line.organization_id,
                job_id=step.id,
                actor="key",
            )
        )
        flow.end(step, "cancelled")
        self._look()

    @precondition(lambda self: any(flow.state == "failed" for flow in self.flows))
    @rule(seed=st.integers(0, 2**32))
    def retry_a_workflow(self, seed):
        self.luck.seed(seed)
        failed = [flow for flow in self.flows if flow.state == "failed"]
        flow = self.luck.choice(failed)
        restarted = self.do(self._restart(flow))
        over = {
            step.id
            for step in flow.steps.values()
            if step.state in ENDED - {"completed"}
        }
        assert {one.job_id for one in restarted} == over
        steps = [flow.steps[id_] for id_ in over]
        self.retried.update(step.state for step in steps)
        flow.retry(steps, lambda step: "waiting" if step.parents else "ready")
        self._look()

    async def _restart(self, flow):
        async with self.conn.transaction():
            row = await workflows.lock_workflow(
                self.conn, organization_id=self.line.organization_id, id_=flow.id
            )
            assert row is not None
            assert row["state"] == "failed"
            return await workflows.restart(self.conn, workflow_id=flow.id, actor="key")

    @precondition(lambda self: self.in_state("dead"))
    @rule(seed=st.integers(0, 2**32))
    def retry_a_dead_letter(self, seed):
        self.luck.seed(seed)
        dead = [
            (flow, step)
            for flow in self.flows
            for step in flow.steps.values()
            if step.state == "dead" and flow.state != "cancelled"
        ]
        if not dead or self.luck.random() < 0.4:
            return
        # Best where others have failed, too.
        several = [(flow, step) for flow, step in dead if flow.dead() > 1]
        flow, step = self.luck.choice(several or dead)
        self.do(
            interventions.requeue(
                self.conn,
                organization_id=self.line.organization_id,
                job_ids=[step.id],
                actor="key",
            )
        )
        flow.retry([step], lambda _: "ready")
        if flow.policy == "fail_fast" and any(
            one.forgiven for one in flow.steps.values()
        ):
            self.retried["beside a failure"] += 1
        self._look()

    @precondition(lambda self: self.held)
    @rule(seed=st.integers(0, 2**32))
    def add_jobs(self, seed):
        self.luck.seed(seed)
        begun = [
            (flow, step)
            for flow in self.flows
            for step in flow.steps.values()
            if step.state == "leased" and flow.state == "running"
        ]
        if not begun or len(begun[0][0].steps) > 8 or self.luck.random() < 0.7:
            return
        flow, step = self.luck.choice(begun)
        steps = self._steps(flow, self.luck.randint(1, 3))
        self.do(self._extend(flow, step, steps))
        self._look()

    async def _extend(self, flow, step, steps):
        async with self.conn.transaction():
            await workflows.lock_workflow(
                self.conn, organization_id=self.line.organization_id, id_=flow.id
            )
            assert await workflows.hold_worker(
                self.conn,
                workflow_id=flow.id,
                worker_id="pod",
                lease_id=self.held[step.id].lease_id,
            )
            await self._add(flow, steps)
            await workflows.extend(
                self.conn,
                workflow_id=flow.id,
                more=len(steps),
                queue_names=["mail"],
                waiting=[one.id for one in steps if one.parents],
            )

    def in_state(self, *states):
        """Whether any job stands so."""
        return any(
            step.state in states for flow in self.flows for step in flow.steps.values()
        )

    def _flow_of(self, job_id):
        return next(flow for flow in self.flows if job_id in flow.steps)

    def _look(self):
        """Let everybody look, as services do after each of these."""
        self.do(self._look_at_all())
        for flow in self.flows:
            flow.look()

    async def _look_at_all(self):
        # What is looked at again after a while would be seen on a slow machine only.
        await self.conn.execute("DELETE FROM rechecks WHERE at > now()")
        looks = 1
        while looks:
            looks, looked = await dependencies.release(self.conn, limit=500)
            await sweep_workflows(self.conn, ids=looked.sweeping)
            await self.conn.execute("DELETE FROM rechecks WHERE at > now()")

    # --- what must be so --------------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self):
        self.do(self._compare())

    async def _compare(self):
        for flow in self.flows:
            row = await workflows.read_workflow(
                self.conn, organization_id=self.line.organization_id, id_=flow.id
            )
            states = Counter(step.state for step in flow.steps.values())
            assert row is not None
            assert row["state"] == flow.state
            assert row["total_jobs"] == len(flow.steps)
            assert {
                "completed": row["completed"],
                "dead": row["failed"],
                "cancelled": row["cancelled"],
                "skipped": row["skipped"],
                "leased": row["processing"],
                "idle": row["pending"],
            } == {
                **{name: states[name] for name in ("completed", "dead", "cancelled")},
                "skipped": states["skipped"],
                "leased": states["leased"],
                "idle": states["ready"] + states["waiting"],
            }
            rows = await workflows.jobs_of(self.conn, workflow_id=flow.id)
            assert {one["id"]: _state(one) for one in rows} == {
                step.id: step.state for step in flow.steps.values()
            }
            told = await self.conn.fetch(
                "SELECT event FROM notices WHERE data ->> 'workflow_id' = $1"
                " ORDER BY seq",
                str(flow.id),
            )
            assert [one["event"] for one in told] == [
                f"workflow.{event}" for event in flow.told
            ]
        assert await invariants.misplaced(self.conn) == []
        assert await invariants.unjournaled(self.conn) == []
        assert await invariants.forgotten(self.conn) == []


async def _await(waiting):
    return await waiting


def _state(row):
    if row["place"] != "finished":
        return row["place"]
    return "skipped" if row["skipped"] else row["ending"]


def play_flows(database_url: str) -> Counter[str]:
    """Play the same examples as ever; return how often what was retried."""
    with asyncio.Runner() as runner:
        Flows.runner, Flows.url, Flows.retried = runner, database_url, Counter()
        Flows.births = count(new_id().int)
        run_state_machine_as_test(
            Flows,
            settings=settings(
                max_examples=40,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return Flows.retried
