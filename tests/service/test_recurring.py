"""Schedules that fire: on time, after an outage, while the run before is not over."""

import asyncio
from datetime import UTC, datetime, timedelta

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


# --- on time --------------------------------------------------------------------------


async def test_a_new_schedule_fires_when_it_is_due(api, conn):
    schedule = await make(
        api, cron_expression="* * * * * *", payload_template={"at": "{{schedule.tick}}"}
    )

    rows = await runs(api, schedule["id"], at_least=3)

    ticks = moments(rows)
    assert len(set(ticks)) == len(ticks)
    assert {row["source"] for row in rows} == {"cron"}
    for row, tick in zip(rows[:3], ticks, strict=False):
        job = await api.job(row["job_id"])
        assert job["payload"] == {"at": f"{tick:%Y-%m-%dT%H:%M:%SZ}"}
        assert job["idempotency_key"] == (
            f"schedule:{schedule['id']}:{tick:%Y-%m-%dT%H:%M:%SZ}"
        )
        assert datetime.fromisoformat(job["created_at"]) >= tick
    seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    assert seen["run_count"] >= 3
    assert seen["last_run_at"] is not None
    told = await conn.fetch(
        "SELECT data::text FROM notices WHERE event = $1", "schedule.triggered"
    )
    assert rows[0]["job_id"] in told[0]["data"]
    assert '"cron"' in told[0]["data"]


async def test_more_than_one_batch_is_fired_side_by_side(api, asleep, conn):
    ids = [(await make(api))["id"] for _ in range(20)]
    await go_back(conn, ids[0], ticks=1)
    for id_ in ids[1:]:
        await go_back(conn, id_, ticks=3)
    made = {ids[0]: 0, **dict.fromkeys(ids[1:], 2)}

    await asleep(schedule_batch_max=2)

    for id_, missed in made.items():
        [row] = await runs(api, id_, at_least=1)
        assert row["missed"] == missed
    jobs = await conn.fetch("SELECT id::text FROM ready JOIN jobs ON id = job_id")
    told = await conn.fetchval("SELECT count(*) FROM notices")
    assert len(jobs) == told == len(ids)


async def test_a_worker_that_waits_gets_the_job_of_a_tick(api):
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await make(api, cron_expression=f"@at {soon.isoformat()}")

    claim = {"queue_name": "reports", "worker_id": "w", "wait_seconds": 20}
    claimed = await api.ask("POST", "/jobs/claim", json=claim, expect=200)

    assert len(claimed["jobs"]) == 1


async def test_a_single_moment_comes_once_and_then_it_has_ended(api):
    soon = datetime.now(UTC) + timedelta(seconds=1)
    schedule = await make(api, cron_expression=f"@at {soon.isoformat()}")

    await runs(api, schedule["id"], at_least=1)

    seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    assert (seen["state"], seen["is_active"], seen["next_run_at"]) == (
        "ended",
        False,
        None,
    )
    usage = await api.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["schedules"]["current"] == 0
    status, _, _ = await api.ask("POST", f"/schedules/{schedule['id']}/pause")
    assert status == 200
    status, refused, _ = await api.ask("POST", f"/schedules/{schedule['id']}/resume")
    assert (status, refused["code"]) == (409, "CONFLICT")


async def test_a_paused_schedule_does_nothing(api, asleep, conn):
    paused, other = await make(api), await make(api)
    for one in (paused, other):
        await go_back(conn, one["id"], ticks=5)
    await api.ask("POST", f"/schedules/{paused['id']}/pause", expect=200)

    await asleep()

    await runs(api, other["id"], at_least=1)
    assert await runs(api, paused["id"]) == []
    resumed = await api.ask("POST", f"/schedules/{paused['id']}/resume", expect=200)
    # What it would have done meanwhile is not missed.
    assert datetime.fromisoformat(resumed["next_run_at"]) > datetime.now(UTC)


async def test_a_push_job_is_pushed_at_its_tick(api, endpoint, carrying):
    soon = datetime.now(UTC) + timedelta(seconds=1)
    schedule = await make(
        api, cron_expression=f"@at {soon.isoformat()}", target={"url": endpoint.url}
    )

    [row] = await runs(api, schedule["id"], at_least=1)

    await api.until_status(row["job_id"], "completed")
    [row] = await runs(api, schedule["id"])
    assert (row["status"], row["job_status"]) == ("completed", "completed")


async def test_what_goes_to_an_ordered_endpoint_waits_for_its_turn(
    api, endpoint, carrying
):
    asked = {"url": endpoint.url, "ordered": True}
    made = await api.ask("POST", "/endpoints", json=asked, expect=201)
    schedule = await make(api, target={"endpoint_id": made["id"]})
    first_is_over = asyncio.Event()

    async def plan(_):
        await first_is_over.wait()
        return 200

    endpoint.answers = [plan]
    path = f"/schedules/{schedule['id']}/trigger"
    ids = [(await api.ask("POST", path, expect=200))["job_id"] for _ in range(2)]
    await endpoint.received(1)
    assert (await api.job(ids[1]))["status"] == "pending"
    first_is_over.set()

    await api.until_status(ids[1], "completed")
    assert endpoint.ids == ids


# --- after an outage ------------------------------------------------------------------


async def test_what_was_missed_is_one_run(api, asleep, conn):
    schedule = await make(api)
    ticks = await go_back(conn, schedule["id"], ticks=5)

    await asleep()

    [row] = await runs(api, schedule["id"], at_least=1)
    assert moments([row]) == ticks[-1:]
    assert row["missed"] == len(ticks) - 1 == 4
    seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    assert datetime.fromisoformat(seen["next_run_at"]) == ticks[-1] + timedelta(hours=1)


async def test_what_was_missed_is_left_out_if_that_is_wanted(api, asleep, conn):
    schedule = await make(api, misfire="skip")
    ticks = await go_back(conn, schedule["id"], ticks=3)

    await asleep(schedule_grace_seconds=1)

    [row] = await runs(api, schedule["id"], at_least=1)
    assert (row["job_id"], row["status"]) == (None, "failed")
    assert row["error_message"].startswith("missed: ")
    assert row["missed"] == len(ticks) - 1


async def test_what_was_missed_is_caught_up_with_if_that_is_wanted(api, asleep, conn):
    catch_up = {"max": 3, "window_seconds": 86_400}
    schedule = await make(api, misfire="catch_up", catch_up=catch_up)
    ticks = await go_back(conn, schedule["id"], ticks=5)

    await asleep()

    rows = await runs(api, schedule["id"], at_least=3)
    assert moments(rows) == ticks[-3:]
    assert [row["missed"] for row in rows] == [2, 0, 0]
    assert len({row["job_id"] for row in rows}) == 3


# --- while the run before is not over -------------------------------------------------


async def two_ticks(api, conn, wake, overlap, **job):
    """Fire once, stop, and let another tick be due; return (schedule, first job)."""
    schedule = await make(api, overlap=overlap, **job)
    triggered = await api.ask(
        "POST", f"/schedules/{schedule['id']}/trigger", expect=200
    )
    await go_back(conn, schedule["id"], ticks=1)
    await wake()
    return schedule, triggered["job_id"]


async def test_runs_may_overlap(api, asleep, conn):
    schedule, first = await two_ticks(api, conn, asleep, "allow")

    rows = await runs(api, schedule["id"], at_least=2)

    assert rows[0]["job_id"] == first
    assert rows[1]["job_id"] not in {first, None}


async def test_a_tick_is_skipped_while_the_run_before_is_not_over(api, asleep, conn):
    schedule, _ = await two_ticks(api, conn, asleep, "skip")

    rows = await runs(api, schedule["id"], at_least=2)

    assert (rows[1]["job_id"], rows[1]["status"]) == (None, "failed")
    assert rows[1]["error_message"] == "skipped: the run before is not over"
    seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    assert seen["run_count"] == 1


async def test_a_tick_waits_until_the_run_before_is_over(api, asleep, conn):
    schedule, _ = await two_ticks(api, conn, asleep, "queue_one")

    async def is_queued():
        return await conn.fetchval("SELECT queued_tick FROM schedules")

    tick = await until(is_queued, at_most=10)
    assert len(await runs(api, schedule["id"])) == 1
    await settle(api)

    rows = await runs(api, schedule["id"], at_least=2)
    assert moments(rows[1:]) == [tick]
    assert rows[1]["job_id"] is not None
    assert await is_queued() is None


async def test_the_run_before_is_cancelled(api, asleep, conn):
    schedule, first = await two_ticks(api, conn, asleep, "cancel_previous")

    rows = await runs(api, schedule["id"], at_least=2)

    assert rows[1]["status"] == "pending"
    await api.until_status(first, "cancelled")
    [before, _] = await runs(api, schedule["id"])
    assert (before["status"], before["job_status"]) == ("failed", "cancelled")


async def test_the_run_before_is_taken_out_of_its_workers_hands(api, asleep, conn):
    schedule = await make(api, overlap="cancel_previous")
    path = f"/schedules/{schedule['id']}"
    first = (await api.ask("POST", f"{path}/trigger", expect=200))["job_id"]
    claim = {"queue_name": "reports", "worker_id": "w", "lease_duration_secs": 600}
    [job] = (await api.ask("POST", "/jobs/claim", json=claim, expect=200))["jobs"]
    await go_back(conn, schedule["id"], ticks=1)

    await asleep()

    rows = await runs(api, schedule["id"], at_least=2)
    assert rows[1]["status"] == "pending"
    assert (await api.job(first))["status"] == "cancelled"
    held = {"worker_id": "w", "lease_id": job["lease_id"]}
    status, refused, _ = await api.ask("POST", f"/jobs/{first}/complete", json=held)
    assert (status, refused["code"]) == (409, "CONFLICT")
    assert await api.history(first) == ["created", "started", "cancelled"]
    [attempt] = await api.attempts(first)
    assert attempt["outcome"] == "lost"
    assert attempt["error"] == "the job was cancelled meanwhile"


# --- what keeps a tick from becoming a job --------------------------------------------


async def test_a_tick_that_a_plan_has_no_room_for_is_recorded_and_time_goes_on(
    api, asleep, conn, database_url
):
    few = await stranger(api, database_url, max_active_jobs=1)
    schedule = await make(few)
    await few.ask("POST", f"/schedules/{schedule['id']}/trigger", expect=200)
    ticks = await go_back(conn, schedule["id"], ticks=5)

    await asleep()

    rows = await runs(few, schedule["id"], at_least=2)
    assert (rows[1]["job_id"], rows[1]["status"]) == (None, "failed")
    assert rows[1]["error_message"].startswith("active_jobs limit reached (1/1)")
    assert rows[1]["completed_at"] is not None
    seen = await few.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    assert datetime.fromisoformat(seen["next_run_at"]) == ticks[-1] + timedelta(hours=1)
    assert seen["run_count"] == 1


async def test_the_jobs_of_ticks_count_for_the_day(api, asleep, conn, database_url):
    few = await stranger(api, database_url, max_jobs_per_day=2)
    schedule = await make(few, misfire="catch_up")
    await go_back(conn, schedule["id"], ticks=5)

    await asleep()

    rows = await runs(few, schedule["id"], at_least=5)
    assert [row["status"] for row in rows] == ["pending"] * 2 + ["failed"] * 3
    usage = await few.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["jobs_today"]["current"] == 2


async def test_an_endpoint_that_is_gone_is_said(api, asleep, conn):
    made = await api.ask(
        "POST", "/endpoints", json={"url": "http://127.0.0.1:9/"}, expect=201
    )
    schedule = await make(api, target={"endpoint_id": made["id"]})
    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)
    await go_back(conn, schedule["id"], ticks=5)

    await asleep()

    [row] = await runs(api, schedule["id"], at_least=1)
    assert row["error_message"] == "the endpoint it goes to is no more"


async def test_an_organization_that_is_gone_fires_nothing(api, asleep, conn):
    schedule = await make(api)
    await go_back(conn, schedule["id"], ticks=5)
    await conn.execute(
        "UPDATE organizations SET plan_tier = 'deleted' WHERE id = $1", api.tenant.id
    )

    await asleep()

    async def is_paused():
        return await conn.fetchval("SELECT paused FROM schedules")

    await until(is_paused, at_most=10)
    assert await conn.fetchval("SELECT count(*) FROM schedule_runs") == 0


async def test_a_schedule_that_cannot_be_read_stops_no_other(api, asleep, conn):
    broken, good = await make(api), await make(api)
    for one in (broken, good):
        await go_back(conn, one["id"], ticks=5)
    await conn.execute(
        "UPDATE schedules SET timezone = 'Mars/Olympus' WHERE id = $1::text::uuid",
        broken["id"],
    )

    await asleep()

    assert (await runs(api, good["id"], at_least=1))[0]["job_id"] is not None
    [row] = await runs(api, broken["id"], at_least=1)
    assert "is no time zone" in row["error_message"]
    seen = await api.ask("GET", f"/schedules/{broken['id']}", expect=200)
    assert seen["state"] == "ended"


# --- a new edition of the zones -------------------------------------------------------


async def test_what_comes_next_is_found_anew_with_new_zones(api, asleep, conn):
    schedule = await make(api, timezone="Europe/Berlin")
    await conn.execute(
        "UPDATE schedules SET zones_edition = '2001a', next_tick = next_at + $1,"
        " next_at = next_at + $1",
        timedelta(hours=1),
    )

    await asleep()

    async def is_renewed():
        seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
        return seen["next_run_at"] == schedule["next_run_at"]

    await until(is_renewed, at_most=10)
    assert await conn.fetchval("SELECT zones_edition FROM schedules") > "2001a"
