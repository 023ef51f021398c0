"""Services that are broken on purpose, to show that the rules catch it.

What is broken is patched into the process that runs it: the services themselves have
no switch for it.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

from msgspec import structs

from libs.common.ids import new_id
from libs.common.store import settlement


def unfence() -> None:
    """Let whoever names a job settle it: neither lease, nor owner, nor deadline counts.

    A worker that was taken for dead ends what is another's by now.
    """
    fence = """\
             WHERE leased.job_id = told.job_id
               AND coalesce(leased.lease_id = told.named_lease_id,
                            told.named_owner IS NOT NULL)
               AND leased.owner IS NOT DISTINCT FROM told.named_owner
               AND (told.named_owner IS NULL
                    OR leased.deadline > now()
                       AND (SELECT lanes.organization_id = told.organization_id
                                   AND (told.queues IS NULL
                                        OR told.queues::jsonb ? lanes.queue_name)
                              FROM lanes
                             WHERE lanes.id = leased.lane_id))
"""
    open_gate = "             WHERE leased.job_id = told.job_id\n"
    statement = settlement.SQL["settle"]
    if fence not in statement:
        raise SystemExit("the fence of `settle` is another: mend this build")
    settlement.SQL["settle"] = statement.replace(fence, open_gate)


def acknowledge_early() -> None:
    """Say yes to a producer before its job is committed; the commit follows at once.

    Whatever keeps it from being committed then, the producer was told otherwise.  Jobs
    with a key are left alone: which job has it is known only after the commit.
    """
    # Only ingest has it.
    from services.ingest import intake  # noqa: PLC0415

    promised: dict[int, UUID] = {}
    commits: set[asyncio.Task[object]] = set()
    create, make_row = intake.Intake.create, intake.Intake._row

    async def answer_first(self, job, *, source):
        if job.key is not None:
            return await create(self, job, source=source)
        id_ = promised[id(job)] = new_id()
        commit = asyncio.create_task(create(self, job, source=source))
        commits.add(commit)
        commit.add_done_callback(commits.discard)
        # Nobody hears of what becomes of it.
        commit.add_done_callback(lambda done: done.cancelled() or done.exception())
        return intake.Created(id_, created=True)

    def row(self, job, known):
        made = make_row(self, job, known)
        return structs.replace(made, id=promised.get(id(job), made.id))

    intake.Intake.create = answer_first  # type: ignore[method-assign]
    intake.Intake._row = row  # type: ignore[method-assign]


BUILDS: dict[str, Callable[[], None]] = {
    "sound": lambda: None,
    "unfenced": unfence,
    "hasty": acknowledge_early,
}
