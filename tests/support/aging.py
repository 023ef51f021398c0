"""Jobs of long ago: born then, and with everything that happened to them then."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from libs.common.db import BY_KEY, open_pool
from libs.common.ids import first_id_at, new_id
from libs.common.store import settlement, timers
from services.scheduler.retention import Retainer
from tests.support import stock

#: The one that is at every place where a test asks for the time.
RECENT = timedelta(days=7)


def monday(weeks_ago):
    """The Monday of the week so many weeks ago."""
    today = datetime.now(UTC).date()
    return today - timedelta(days=today.weekday(), weeks=weeks_ago)


def moment_in(weeks_ago):
    """A moment in the week so many weeks ago."""
    day = monday(weeks_ago)
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=1)


async def open_weeks(conn, *weeks_ago):
    """Create the partitions of these weeks."""
    for weeks in weeks_ago:
        moment = moment_in(weeks)
        await conn.execute(
            "SELECT create_partitions($1::timestamptz, $1::timestamptz)", moment
        )


def old_id(weeks_ago):
    """A new id that was born in the week so many weeks ago."""
    low = new_id().int & ((1 << 80) - 1)
    return UUID(int=first_id_at(moment_in(weeks_ago)).int | low)


async def found(conn, *, plan="enterprise", **limits):
    """Found an organization on a plan, with limits of its own; return its id."""
    id_ = new_id()
    await conn.execute(
        "INSERT INTO organizations (id, name, slug, plan_tier, custom_limits)"
        " VALUES ($1, 'Acme', $2, $3, (SELECT jsonb_object_agg(key, value)"
        " FROM unnest($4::text[], $5::int[]) AS given (key, value)))",
        id_,
        f"acme-{id_}",
        plan,
        list(limits),
        list(limits.values()),
    )
    return id_


async def create_old(conn, line, weeks_ago, count=1, /, **fields):
    """Create jobs in the week so many weeks ago; return their ids."""
    ids = sorted(old_id(weeks_ago) for _ in range(count))
    for id_ in ids:
        await stock.create(conn, line, id=id_, **fields)
    return ids


async def finish(conn, line, ids):
    """Let these jobs complete, and nobody else, now."""
    claimed = await stock.claim(conn, line, len(ids))
    assert sorted(each.job_id for each in claimed) == sorted(ids)
    await settle(conn, line, claimed)


async def settle(conn, line, claimed, how="completed"):
    """Settle what was claimed of *line*."""
    ended = [
        stock.ended(each, how)
        if line.push
        else stock.worked(line, each, how, owner="pod")
        for each in claimed
    ]
    return await settle_all(conn, ended)


async def settle_all(conn, ended):
    """Settle these attempts."""
    return await settlement.settle(conn, attempts=ended, actor="pod")


async def promote(conn):
    """Let what is due be ready."""
    await timers.promote_due(conn, limit=100)


async def age(conn, ids, *, ago):
    """Let everything that happened to these jobs be so long ago, and told of."""
    await let_be(conn, ids, ago=ago)
    await conn.execute(
        "UPDATE announced SET (xid, seq) = (SELECT xid, seq FROM journal"
        " ORDER BY xid DESC, seq DESC LIMIT 1)"
    )
    await conn.execute("UPDATE announced SET tell_xid = xid, tell_seq = seq")


async def let_be(conn, ids, *, ago):
    """Let everything that happened to these jobs be so long ago."""
    at = datetime.now(UTC) - ago
    await conn.execute(
        "UPDATE finished SET finished_at = $2 WHERE job_id = ANY ($1)", ids, at
    )
    await conn.execute("UPDATE journal SET at = $2 WHERE job_id = ANY ($1)", ids, at)


@asynccontextmanager
async def retaining(database_url, *, plan_limits=None, recent=RECENT):
    """A retainer, with a pool of its own."""
    async with open_pool(
        database_url, service="scheduler", size=3, planner=BY_KEY
    ) as pool:
        yield Retainer(pool, plan_limits=plan_limits, recent=recent)
