"""Jobs in lines straight through the store."""

from uuid import UUID

from libs.common.ids import new_id
from libs.common.store import jobs, lines, queues
from libs.common.store.lines import Called, Line
from tests.support import stock
from tests.support.rivals import cancel


def line_of(lane: stock.Line, key: str = "key") -> Line:
    """Return the line of a key of the lane's queue."""
    return Line.of_queue(lane.organization_id, lane.queue_name, key)


async def in_line(conn, lane: stock.Line, count: int = 1, **fields) -> list[UUID]:
    """Create jobs of one line, that of the key ``key`` of their queue unless said."""
    whole = {"line": line_of(lane), **fields}
    made = [stock.new_job(lane, **whole) for _ in range(count)]
    assert await jobs.create(conn, jobs=made) == {job.id for job in made}
    return [job.id for job in made]


async def release(conn, *, limit: int = 100) -> Called:
    """Look until nothing is left to be seen; return what came of it in all."""
    total = Called(0, [], [])
    while True:
        async with conn.transaction():
            checks = await lines.look(conn, limit=limit)
            if not checks:
                return total
            found = await lines.call(conn, checks=checks)
        total = Called(
            total.called + found.called,
            sorted({*total.push_lanes, *found.push_lanes}),
            sorted({*total.work_lanes, *found.work_lanes}),
        )


async def called(conn) -> list[UUID]:
    """Return whose turn it is, in the order of their coming."""
    rows = await conn.fetch("SELECT job_id FROM lines WHERE called ORDER BY position")
    return [row["job_id"] for row in rows]


async def run_down(conn, lane: stock.Line) -> list[UUID]:
    """Cancel who is called until nobody is; return them in order."""
    order: list[UUID] = []
    await release(conn)
    while now := await called(conn):
        for job_id in now:
            assert await cancel(conn, lane, job_id)
        order += now
        await release(conn)
    return order


async def configure(conn, lane: stock.Line, settings: str | None, *, cleared=()):
    """Change the settings of the lane's queue (JSON), as the API does."""
    await conn.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', 'acme')"
        " ON CONFLICT DO NOTHING",
        lane.organization_id,
    )
    await queues.configure_queue(
        conn,
        id_=new_id(),
        organization_id=lane.organization_id,
        name=lane.queue_name,
        max_retries=None,
        default_timeout=None,
        rate_limit=None,
        enabled=None,
        settings=settings,
        cleared=cleared,
    )
    await lines.recheck(
        conn, organization_id=lane.organization_id, queue_name=lane.queue_name
    )
