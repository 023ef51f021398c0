"""Schedules for tests: made over the API, and made due when the test says."""

from datetime import UTC, datetime, timedelta

from libs.common.ticks import rhythm_of
from tests.support.waiting import until

#: Far from now, whenever that is.
QUIET = "0 0 1 1 *"

HOUR = timedelta(hours=1)


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


async def go_back(conn, schedule_id, *, ticks):
    """Let a schedule stand where it would if nobody had fired it for *ticks* ticks.

    From then on it fires every hour, counted from where it began and not by the clock:
    whenever a test runs, the latest of the ticks, which are returned, was half an hour
    ago, and the next one comes in half an hour.
    """
    now = await conn.fetchval("SELECT now()")
    began = now - ticks * HOUR - HOUR / 2
    rhythm = rhythm_of(
        schedule_id, expression="@every 1h", timezone="UTC", created_at=began
    )
    first = rhythm.after(began)
    assert first is not None
    due = [first.tick + number * HOUR for number in range(ticks)]
    await conn.execute(
        "UPDATE schedules SET cron_expression = '@every 1h', next_tick = $2,"
        " next_at = $2, created_at = $3 WHERE id = $1::text::uuid",
        schedule_id,
        due[0],
        began,
    )
    return due


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
