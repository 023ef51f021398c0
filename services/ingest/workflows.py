"""Workflows on their way in: what shapes cannot say, and all of it in one commit."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import msgspec
import orjson

from libs.common import quotas
from libs.common.access import Principal
from libs.common.bus import Bus
from libs.common.db import Conn, Row
from libs.common.errors import Fault, Malformed, Unavailable
from libs.common.ids import new_id
from libs.common.store import jobs, organizations, usage, workflows
from libs.common.store.jobs import NewJob
from libs.common.store.workflows import Edge, NewWorkflow, Restarted
from services.ingest.idempotency import fingerprint_of
from services.ingest.intake import row_of
from services.ingest.remembered import Known, Remembered
from services.ingest.requests.jobs import CreateJob, EndpointTarget
from services.ingest.requests.workflows import CreateWorkflow, WorkflowJobAsked
from services.ingest.subscribers import Subscriber
from services.ingest.wanted import Wanted, wanted

#: Fields of a job that mean what they mean of any job.
_PLAIN: Final = (
    "queue_name",
    "payload",
    "priority",
    "max_retries",
    "timeout_seconds",
    "scheduled_at",
    "expires_at",
    "tags",
    "target",
    "retry",
    "concurrency_key",
    "ordering_key",
)


#: Jobs of one workflow, those that were added later among them.
TOTAL_MAX: Final = 2000
#: References in one payload: what each stands for is 64 KiB at most.
REFERENCES_MAX: Final = 32
#: The schema knows it, too: `resolved`.
_REFERENCE: Final = re.compile(
    r"\{\{ *parents\.([A-Za-z0-9_-]+)\.result(?:\.[A-Za-z0-9_-]+)* *\}\}"
)


@dataclass(frozen=True, slots=True)
class Made:
    """The workflow that now stands for a request, and its jobs by their keys.

    *rows* are the jobs that are new: none when its idempotency key was known.  Then it
    *differs* when it was made by a request for something else.
    """

    id: UUID
    jobs: Mapping[str, UUID]
    rows: Sequence[NewJob] = ()
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A job of a workflow that was checked."""

    asked: WorkflowJobAsked
    job: Wanted
    id: UUID

    @property
    def key(self) -> str:
        """What the others call it."""
        return self.asked.key

    @property
    def parents(self) -> list[str]:
        """The keys of those that it waits for, each once."""
        return list(dict.fromkeys(self.asked.depends_on or ()))

    @property
    def references(self) -> list[str]:
        """The keys of those whose results it refers to, each time that it does."""
        return _REFERENCE.findall(self.job.payload)

    def edges(self, known: Mapping[str, UUID]) -> list[Edge]:
        """Return what it waits for; *known* are the jobs by their keys."""
        asked = self.asked
        kinds = asked.dependency_types or {}
        return [
            Edge(
                self.id,
                known[key],
                asked.dependency_mode or "all",
                kinds.get(key) or asked.dependency_type or "success",
            )
            for key in self.parents
        ]


def steps_of(
    principal: Principal,
    asked: Sequence[WorkflowJobAsked],
    *,
    payloads: Sequence[bytes],
    development: bool,
    endpoints: Mapping[str, Subscriber],
) -> list[Step]:
    """Check jobs one by one; raises `Malformed` and `PayloadOverPlan`.

    *endpoints* are those that they name, by what they are named.
    """
    steps = []
    for index, (one, payload) in enumerate(zip(asked, payloads, strict=True)):
        principal.require(one.queue_name)
        try:
            target = one.target
            named = isinstance(target, EndpointTarget) and target.endpoint_id
            steps.append(
                _step(
                    principal,
                    one,
                    payload,
                    development=development,
                    endpoint=endpoints.get(named) if named else None,
                )
            )
        except Malformed as error:
            raise Malformed(
                *(
                    replace(fault, field=f"jobs.{index}.{fault.field}")
                    for fault in error.faults
                )
            ) from error
    return steps


def check_graph(steps: Sequence[Step], *, known: Mapping[str, UUID]) -> None:
    """Raise `Malformed` unless keys are told apart, known, and lead in no circle.

    *known* are jobs that are there already.
    """
    keys = Counter(step.key for step in steps)
    for index, step in enumerate(steps):
        if keys[step.key] > 1:
            raise _wrong(index, "key", f"Duplicate job key: {step.key}", "duplicate")
        for key in (*step.parents, *(step.asked.dependency_types or ())):
            if key not in keys and key not in known:
                words = f"Unknown dependency key: {key}"
                raise _wrong(index, "depends_on", words, "unknown_key")
        if step.key in step.parents:
            raise _wrong(index, "depends_on", "Job depends on itself", "cycle")
        _check_references(index, step)
    waiting = {step.key: {key for key in step.parents if key in keys} for step in steps}
    while free := [key for key, parents in waiting.items() if not parents]:
        for key in free:
            del waiting[key]
        for parents in waiting.values():
            parents.difference_update(free)
    if waiting:
        index = next(i for i, step in enumerate(steps) if step.key in waiting)
        raise _wrong(
            index, "depends_on", "Circular dependency: the jobs form a cycle", "cycle"
        )


async def create(
    conn: Conn, bus: Bus, principal: Principal, asked: CreateWorkflow, steps: list[Step]
) -> Made:
    """Create a workflow in the caller's transaction, or find the one that has its key.

    Raises `FeatureDisabled` and `QuotaExceeded` when the plan has no room for it, and
    `Unavailable` when who has the key cannot be said.
    """
    id_, organization_id = new_id(), principal.organization_id
    limited = principal.plan.limits.max_workflows is not None
    if limited:
        # Who else wants one waits: two who count at once would both find room.
        await organizations.lock_organization(conn, id_=organization_id)
    new = NewWorkflow(
        id=id_,
        organization_id=organization_id,
        name=asked.name,
        description=asked.description,
        metadata=None
        if asked.metadata is None
        else orjson.dumps(asked.metadata).decode(),
        policy=asked.policy,
        queue_names={step.job.request.queue_name for step in steps},
        total_jobs=len(steps),
        idempotency_key=asked.idempotency_key,
        fingerprint=fingerprint_of(asked) if asked.idempotency_key else None,
    )
    if not await workflows.create_workflow(conn, new=new):
        return await _made_before(conn, new)
    if limited:
        count = await workflows.count_open(conn, organization_id=organization_id)
        principal.plan.require("workflows", after=count)
    rows = await add_steps(conn, bus, principal, id_, steps, known={})
    return Made(id_, {step.key: step.id for step in steps}, rows)


async def _made_before(conn: Conn, new: NewWorkflow) -> Made:
    """Return the workflow that has the idempotency key of one that was not created."""
    found = new.idempotency_key and await workflows.find_by_key(
        conn, organization_id=new.organization_id, key=new.idempotency_key
    )
    if not found:
        raise Unavailable("who holds the idempotency key is not known; try again")
    id_, fingerprint = found
    known = await workflows.keys_of(conn, workflow_id=id_)
    return Made(id_, known, differs=fingerprint != new.fingerprint)


async def hold_organization(conn: Conn, principal: Principal) -> None:
    """Lock who pays for it, if that is counted; before any of their jobs is locked."""
    if not principal.plan.unlimited:
        await organizations.lock_organization(conn, id_=principal.organization_id)


async def extend(
    conn: Conn, bus: Bus, principal: Principal, row: Row, steps: Sequence[Step]
) -> tuple[dict[str, UUID], list[NewJob]]:
    """Add jobs to a workflow that the caller's transaction has locked.

    A key that is there already stands for the job that has it.  Return the jobs by
    their keys, and those that are new.  Raises as `check_graph` and `create`.
    """
    known = await workflows.keys_of(conn, workflow_id=row["id"])
    fresh = [step for step in steps if step.key not in known]
    check_graph(fresh, known=known)
    if row["total_jobs"] + len(fresh) > TOTAL_MAX:
        words = f"a workflow has at most {TOTAL_MAX} jobs"
        raise Malformed(Fault("jobs", words, "too_many"))
    if not fresh:
        return known, []
    rows = await add_steps(conn, bus, principal, row["id"], fresh, known=known)
    await workflows.extend(
        conn,
        workflow_id=row["id"],
        more=len(rows),
        queue_names={new.queue_name for new in rows},
        waiting=[new.id for new in rows if new.waits],
    )
    return {**known, **{step.key: step.id for step in fresh}}, rows


async def restart(conn: Conn, principal: Principal, row: Row) -> list[Restarted]:
    """Let what failed in a workflow start over, in a transaction that has locked it.

    Raises `Malformed` unless it has failed, and `QuotaExceeded`.
    """
    if row["state"] != "failed":
        raise Malformed(
            Fault(
                "status",
                f"Cannot retry workflow with status '{row['state']}'. "
                "Only failed workflows can be retried.",
                "BAD_REQUEST",
            )
        )
    organization_id, plan = principal.organization_id, principal.plan
    rooms = (
        None
        if plan.limits.max_active_jobs is None
        else await quotas.hold(conn, {organization_id: plan})
    )
    restarted = await workflows.restart(
        conn, workflow_id=row["id"], actor=str(principal.api_key_id)
    )
    if rooms is not None:
        quotas.room_of(rooms, organization_id).take_again(len(restarted))
    return restarted


async def add_steps(
    conn: Conn,
    bus: Bus,
    principal: Principal,
    workflow_id: UUID,
    steps: Sequence[Step],
    *,
    known: Mapping[str, UUID],
) -> list[NewJob]:
    """Create the jobs of a workflow in the caller's transaction, and return them.

    *known* are those that it has already.  Raises as `create`.
    """
    organization_id, plan = principal.organization_id, principal.plan
    if not plan.unlimited:
        rooms = await quotas.hold(conn, {organization_id: plan}, queues=True)
        quotas.room_of(rooms, organization_id).take(
            len(steps), queue_names={step.job.lane.queue_name for step in steps}
        )
    lanes = Known({}, {}, 0)
    await Remembered(bus).complete(conn, lanes, {step.job.lane for step in steps})
    ids = {**known, **{step.key: step.id for step in steps}}
    edges = [edge for step in steps for edge in step.edges(ids)]
    rows = [_row(step, lanes, workflow_id) for step in steps]
    await jobs.create(conn, jobs=rows)
    await workflows.add_jobs(
        conn, workflow_id=workflow_id, jobs=[(step.key, step.id) for step in steps]
    )
    if edges:
        await workflows.add_edges(conn, edges=edges)
    if not plan.unlimited:
        await usage.charge(conn, created=Counter({organization_id: len(rows)}))
    return rows


def _step(
    principal: Principal,
    asked: WorkflowJobAsked,
    payload: bytes,
    *,
    development: bool,
    endpoint: Subscriber | None,
) -> Step:
    said = {
        name: value
        for name in _PLAIN
        if (value := getattr(asked, name)) is not None or name == "payload"
    }
    job = wanted(
        principal,
        CreateJob(**said),
        payload=payload,
        development=development,
        endpoint=endpoint,
    )
    return Step(asked, job, new_id())


def _row(step: Step, lanes: Known, workflow_id: UUID) -> NewJob:
    row = row_of(step.job, lanes, step.id, None)
    made_by = {"workflow_id": str(workflow_id), "workflow_key": step.key}
    if step.job.trace is not None:
        made_by["traceparent"] = step.job.trace
    return msgspec.structs.replace(
        row,
        workflow_id=workflow_id,
        edges=len(step.parents) or None,
        refers=True if step.references else None,
        made_by=orjson.dumps(made_by).decode(),
    )


def _check_references(index: int, step: Step) -> None:
    if len(step.references) > REFERENCES_MAX:
        words = f"has more than {REFERENCES_MAX} references"
        raise _wrong(index, "payload", words, "references")
    for key in step.references:
        if key not in step.parents:
            words = f"refers to {key}, which is not in depends_on"
            raise _wrong(index, "payload", words, "unknown_key")


def _wrong(index: int, field: str, words: str, code: str) -> Malformed:
    return Malformed(Fault(f"jobs.{index}.{field}", words, code))
