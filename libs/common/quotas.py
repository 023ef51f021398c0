"""How many jobs and queues an organization may have, counted exactly (contract 4.4).

Only organizations with limits come here.  Whoever counts holds the organization's row
of today until the commit, so that two who create at once count one after the other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson
import structlog
from pydantic import ValidationError

from libs.common.db import Conn, Row
from libs.common.errors import QuotaExceeded, Unauthorized
from libs.common.plans import Plan, PlanLimits, Resource, plan_of
from libs.common.store import interventions, usage
from libs.common.store.interventions import Requeued

log = structlog.get_logger()

#: The tier of an organization that was deleted.
DELETED: Final = "deleted"


@dataclass(slots=True)
class Room:
    """What is left of a plan while its organization's row is held."""

    plan: Plan
    jobs_today: int
    active: int
    #: The organization's queues, or None when nobody has to know.
    queues: set[str] | None = None

    def take(self, jobs: int, *, queue_names: Collection[str] = ()) -> None:
        """Take room for new jobs; raises `QuotaExceeded` and takes nothing then."""
        limits = self.plan.limits
        self._require("jobs_per_day", self.jobs_today, jobs, limits.max_jobs_per_day)
        self._require("active_jobs", self.active, jobs, limits.max_active_jobs)
        if self.queues is not None:
            fresh = set(queue_names) - self.queues
            self._require("queues", len(self.queues), len(fresh), limits.max_queues)
            self.queues |= fresh
        self.jobs_today += jobs
        self.active += jobs

    def take_again(self, jobs: int) -> None:
        """Take room for jobs that were created before; raises as `take`."""
        limit = self.plan.limits.max_active_jobs
        self._require("active_jobs", self.active, jobs, limit)
        self.active += jobs

    def fits(self, jobs: int, *, queue_name: str | None = None) -> int:
        """Return how many of *jobs* there is room for.

        They are new ones in a queue, or, without a name, such as `take_again` takes.
        """
        limits, left = self.plan.limits, [jobs]
        if limits.max_active_jobs is not None:
            left.append(limits.max_active_jobs - self.active)
        if queue_name is not None and limits.max_jobs_per_day is not None:
            left.append(limits.max_jobs_per_day - self.jobs_today)
        if queue_name is not None and limits.max_queues is not None:
            queues = self.queues or set()
            if queue_name not in queues and len(queues) >= limits.max_queues:
                return 0
        return max(0, min(left))

    def _require(
        self, resource: Resource, current: int, more: int, limit: int | None
    ) -> None:
        if limit is None or not more or current + more <= limit:
            return
        raise QuotaExceeded(
            resource=resource,
            # Nobody counts further than one too many.
            current=min(current, limit),
            limit=limit,
            plan=self.plan.tier,
            upgrade_to=self.plan.upgrade_to,
            more=more,
        )


async def hold(
    conn: Conn, plans: Mapping[UUID, Plan], *, queues: bool = False
) -> dict[UUID, Room]:
    """Return what room organizations have, and hold it until the transaction ends.

    One that is no more, though its key is still remembered, is left out (`room_of`).
    """
    today = await usage.lock(conn, organization_ids=plans.keys())
    limits = {
        id_: plan.limits.max_active_jobs
        for id_, plan in plans.items()
        if plan.limits.max_active_jobs is not None
    }
    active = await usage.count_active(conn, limits=limits) if limits else {}
    limited = [id_ for id_, plan in plans.items() if plan.limits.max_queues is not None]
    names: dict[UUID, set[str]] = {}
    if queues and limited:
        names = await usage.queue_names(conn, organization_ids=limited)
    return {
        id_: Room(plan, today[id_], active.get(id_, 0), names.get(id_))
        for id_, plan in plans.items()
        if id_ in today
    }


def room_of(rooms: Mapping[UUID, Room], organization_id: UUID) -> Room:
    """Return an organization's room; raises `Unauthorized` when it is no more."""
    if organization_id not in rooms:
        raise Unauthorized("Organization is not available")
    return rooms[organization_id]


async def requeue(
    conn: Conn,
    *,
    organization_id: UUID,
    plan: Plan,
    actor: str,
    job_ids: Collection[UUID],
    queue_names: Sequence[str] | None = None,
) -> list[Requeued]:
    """Make dead letters ready again, as `interventions.requeue`.

    Raises `QuotaExceeded`, and moves none, when they are more than the plan lets be
    active at once; `Unauthorized` when the organization is no more.
    """
    if plan.limits.max_active_jobs is None:
        return await interventions.requeue(
            conn,
            organization_id=organization_id,
            job_ids=job_ids,
            queue_names=queue_names,
            actor=actor,
        )
    async with conn.transaction():
        rooms = await hold(conn, {organization_id: plan})
        requeued = await interventions.requeue(
            conn,
            organization_id=organization_id,
            job_ids=job_ids,
            queue_names=queue_names,
            actor=actor,
        )
        room_of(rooms, organization_id).take_again(len(requeued))
    return requeued


def stored_plan(row: Row, plan_limits: PlanLimits | None) -> Plan:
    """Return the plan of an organization, by its tier and its own limits.

    *plan_limits* is what the operator says.  Limits of its own that are none are not
    worth an outage.
    """
    tier, stored = row["plan_tier"], row["custom_limits"]
    custom = orjson.loads(stored) if stored else None
    try:
        return plan_of(tier, custom_limits=custom, operator=plan_limits)
    except (ValidationError, TypeError) as error:
        log.error(  # noqa: TRY400 - what is stored is wrong, not the code
            "plan.unreadable",
            organization_id=str(row["organization_id"]),
            cause=str(error)[:500],
        )
        return plan_of(tier, operator=plan_limits)
