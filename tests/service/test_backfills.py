"""Ticks of the past that get their jobs, bit by bit, and none twice."""

from datetime import timedelta

import pytest

from tests.support.tenants import stranger
from tests.support.timetables import go_back, make, moments, runs
from tests.support.waiting import until


@pytest.fixture
async def asleep(house):
    """Nobody fires until `wake` is called: the test says how things stand before."""
    await house.stop("scheduler")

    async def wake(**knobs):
        await house.start("scheduler", **knobs)

    return wake


async def settle(api, queue="reports"):
    """Work off one job of a queue."""
    claim = {"queue_name": queue, "worker_id": "w"}
    [job] = (await api.ask("POST", "/jobs/claim", json=claim, expect=200))["jobs"]
    held = {"worker_id": "w", "lease_id": job["lease_id"]}
    await api.ask("POST", f"/jobs/{job['id']}/complete", json=held, expect=200)


async def done(api, schedule_id, backfill_id, status="completed"):
    async def check():
        path = f"/schedules/{schedule_id}/backfills/{backfill_id}"
        found = await api.ask("GET", path, expect=200)
        return found if found["status"] != "running" else None

    found = await until(check, at_most=20)
    assert found["status"] == status, found
    return found


async def test_ticks_of_the_past_get_their_jobs_and_none_twice(api):
    schedule = await make(api, overlap="skip")
    path = f"/schedules/{schedule['id']}"
    await api.ask("PUT", path, json={"cron_expression": "0 * * * *"}, expect=200)
    asked = {"from": "2026-03-28T22:30:00Z", "to": "2026-03-29T03:00:00Z"}

    begun = await api.ask("POST", f"{path}/backfill", json=asked, expect=202)
    assert (begun["status"], begun["total"]) == ("running", 4)
    found = await done(api, schedule["id"], begun["id"])
    assert (found["created"], found["skipped"]) == (4, 0)

    rows = await runs(api, schedule["id"])
    assert [f"{tick:%d %H:%M}" for tick in sorted(moments(rows))] == [
        "28 23:00",
        "29 00:00",
        "29 01:00",
        "29 02:00",
    ]
    assert {row["source"] for row in rows} == {"backfill"}
    again = await api.ask("POST", f"{path}/backfill", json=asked, expect=202)
    found = await done(api, schedule["id"], again["id"])
    assert (found["created"], found["skipped"]) == (0, 4)
    assert len(await runs(api, schedule["id"])) == 4


async def test_a_tick_that_had_no_job_gets_one(api, asleep, conn):
    schedule = await make(api, misfire="skip")
    path = f"/schedules/{schedule['id']}"
    ticks = await go_back(conn, schedule["id"], ticks=3)
    await asleep(schedule_grace_seconds=1)
    [row] = await runs(api, schedule["id"], at_least=1)
    assert row["job_id"] is None

    asked = {"from": (ticks[0] - timedelta(seconds=1)).isoformat()}
    begun = await api.ask("POST", f"{path}/backfill", json=asked, expect=202)
    found = await done(api, schedule["id"], begun["id"])

    assert found["created"] == len(ticks)
    rows = await runs(api, schedule["id"])
    assert sorted(moments(rows)) == ticks
    assert all(row["job_id"] is not None for row in rows)
    assert all(row["error_message"] is None for row in rows)


async def test_much_is_made_up_for_bit_by_bit(api):
    schedule = await make(api)
    path = f"/schedules/{schedule['id']}"
    await api.ask("PUT", path, json={"cron_expression": "*/2 * * * *"}, expect=200)

    asked = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
    begun = await api.ask("POST", f"{path}/backfill", json=asked, expect=202)

    found = await done(api, schedule["id"], begun["id"])
    assert (begun["total"], found["created"]) == (720, 720)
    seen = await api.ask("GET", path, expect=200)
    assert seen["run_count"] == 720


async def test_what_there_is_no_room_for_ends_it_and_it_can_go_on(
    api, database_url, conn
):
    few = await stranger(api, database_url, max_active_jobs=2)
    schedule = await make(few)
    path = f"/schedules/{schedule['id']}"
    await few.ask("PUT", path, json={"cron_expression": "0 * * * *"}, expect=200)
    asked = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T04:00:00Z"}

    begun = await few.ask("POST", f"{path}/backfill", json=asked, expect=202)
    found = await done(few, schedule["id"], begun["id"], status="failed")
    assert found["created"] == 2
    assert found["error_message"].startswith("active_jobs limit reached (2/2)")

    await settle(few)
    await settle(few)
    again = await few.ask("POST", f"{path}/backfill", json=asked, expect=202)
    found = await done(few, schedule["id"], again["id"])
    assert (found["created"], found["skipped"]) == (2, 2)


async def test_a_time_that_cannot_be_made_up_for_is_refused(api):
    schedule = await make(api)
    path = f"/schedules/{schedule['id']}"
    await api.ask("PUT", path, json={"cron_expression": "0 * * * *"}, expect=200)

    for asked in (
        {"from": "2999-01-01T00:00:00Z"},
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        # Too many ticks.
        {"from": "1999-01-01T00:00:00Z", "to": "2001-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        {},
    ):
        status, _, _ = await api.ask("POST", f"{path}/backfill", json=asked)
        assert status in {400, 422}, asked
