"""Schedules for tests: made over the API, and made due when the test says."""

from datetime import UTC, datetime

from libs.common.ticks import rhythm_of
from tests.support.waiting import until

#: Far from now, whenever that is.
QUIET = "0 0 1 1 *"


async def make(api, **changes):
    """Create a schedule that does nothing by itself; return it."""
    body = {
        "name": "test",
        "queue_name": "reports",
        "cron_expression": QUIET,
        "payload_template": {"n": 1},
        **changes,
    }
    return await api.ask("POST", "/schedules", json=body, expect=201)


async def go_back(conn, schedule_id, ago, *, expression="* * * * *"):
    """Let a schedule stand where it would if nobody had fired it for *ago*.

    Returns the ticks since, up to now.
    """
    now = await conn.fetchval("SELECT now()")
    rhythm = rhythm_of(
        schedule_id, expression=expression, timezone="UTC", created_at=now - ago
    )
    tick = rhythm.after(now - ago)
    ticks = []
    while tick is not None and tick.tick <= now:
        ticks.append(tick.tick)
        tick = rhythm.after(tick.tick)
    assert ticks, "nothing was due since"
    await conn.execute(
        "UPDATE schedules SET cron_expression = $2, next_tick = $3, next_at = $3,"
        " created_at = $4 WHERE id = $1::text::uuid",
        schedule_id,
        expression,
        ticks[0],
        now - ago,
    )
    return ticks


async def runs(api, schedule_id, *, at_least=0):
    """Return what a schedule did, oldest first, as soon as it did so much."""

    async def check():
        path = f"/schedules/{schedule_id}/history?limit=500"
        rows = await api.ask("GET", path, expect=200)
        return (rows[::-1],) if len(rows) >= at_least else None

    (found,) = await until(check, at_most=15)
    return found


def moments(rows):
    """Return the ticks of runs."""
    return [datetime.fromisoformat(row["tick"]).astimezone(UTC) for row in rows]
