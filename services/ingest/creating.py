"""Jobs created with what hangs on them: all by the same commit, or nothing."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.common.db import Conn
from libs.common.ids import new_id
from libs.common.store import completions, incoming, jobs
from libs.common.store.incoming import Delivery, Entry
from libs.common.store.jobs import NewJob

#: What came in from outside, by the job that it is to become.
Deliveries = Mapping[UUID, Delivery]


async def create_jobs(
    conn: Conn, rows: Sequence[NewJob], deliveries: Deliveries
) -> set[UUID]:
    """Create jobs as `jobs.create` does, and return the ids of those that were.

    With them it is logged what came in from outside, and noted whom to tell when they
    end.
    """
    told = {row.id: row.completion for row in rows if row.completion is not None}
    if not told and not any(row.id in deliveries for row in rows):
        return await jobs.create(conn, jobs=rows)
    async with conn.transaction():
        created = await jobs.create(conn, jobs=rows)
        if told:
            await completions.attach(
                conn, completions={id_: told[id_] for id_ in told.keys() & created}
            )
        entries = [
            Entry(
                id=new_id(),
                organization_id=row.organization_id,
                delivery=deliveries[row.id],
                queue_name=row.queue_name,
                job_id=row.id,
            )
            for row in rows
            if row.id in created and row.id in deliveries
        ]
        if entries:
            await incoming.note_created(conn, entries=entries)
    return created
