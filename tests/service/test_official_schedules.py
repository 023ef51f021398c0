"""The official client, blocking and async, keeps schedules."""

from datetime import UTC, datetime, timedelta

import pytest
from spooled.errors import NotFoundError, ValidationError

from tests.support.official import open_official
from tests.support.waiting import until


@pytest.fixture(params=[True, False], ids=["blocking", "async"])
async def client(request, house, tenant):
    async with open_official(
        house, blocking=request.param, api_key=tenant.api_key
    ) as official:
        yield official


ASKED = {
    "name": "Morning report",
    "description": "Before anybody is up",
    "cron_expression": "0 7 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "queue_name": "reports",
    "payload_template": {"kind": "daily"},
    "priority": 5,
    "max_retries": 2,
    "timeout_seconds": 60,
    "tags": {"team": "a"},
    "metadata": {"owner": "ada"},
}


async def test_a_schedule_is_made_seen_changed_and_deleted(client):
    made = await client("schedules.create", ASKED)
    seen = await client("schedules.get", made.id)

    assert made.next_run_at == seen.next_run_at > datetime.now(UTC)
    assert made.cron_expression == ASKED["cron_expression"]
    for name, value in ASKED.items():
        assert getattr(seen, name) == value, name
    assert (seen.is_active, seen.run_count, seen.last_run_at) == (True, 0, None)

    listed = await client("schedules.list", {"queue_name": "reports"})
    assert [one.id for one in listed] == [made.id]
    assert await client("schedules.list", {"is_active": False}) == []

    changed = await client(
        "schedules.update", made.id, {"cron_expression": "@hourly", "priority": -5}
    )
    assert (changed.priority, changed.name) == (-5, ASKED["name"])
    assert changed.next_run_at - datetime.now(UTC) <= timedelta(hours=1)

    paused = await client("schedules.pause", made.id)
    assert not paused.is_active
    resumed = await client("schedules.resume", made.id)
    assert resumed.is_active

    await client("schedules.delete", made.id)
    with pytest.raises(NotFoundError):
        await client("schedules.get", made.id)


async def test_what_a_schedule_did_is_seen(client):
    made = await client("schedules.create", ASKED)

    triggered = await client("schedules.trigger", made.id)
    [run] = await client("schedules.get_history", made.id)

    assert (run.job_id, run.schedule_id) == (triggered.job_id, made.id)
    assert (run.status, run.started_at) == ("pending", triggered.triggered_at)
    claimed = await client("jobs.claim", {"queue_name": "reports", "worker_id": "w"})
    [job] = claimed.jobs
    assert (job.id, job.payload) == (triggered.job_id, {"kind": "daily"})
    await client("jobs.complete", job.id, {"worker_id": "w", "lease_id": job.lease_id})

    async def is_completed():
        [run] = await client("schedules.get_history", made.id)
        return run.status == "completed" and run.completed_at is not None

    await until(is_completed, at_most=10)
    seen = await client("schedules.get", made.id)
    assert (seen.run_count, seen.last_run_at) == (1, triggered.triggered_at)


async def test_a_schedule_fires(client):
    asked = {**ASKED, "cron_expression": "* * * * * *", "timezone": "+05:30"}
    made = await client("schedules.create", asked)

    async def has_fired():
        return len(await client("schedules.get_history", made.id)) >= 2

    await until(has_fired, at_most=15)


async def test_what_is_wrong_is_said(client):
    with pytest.raises(ValidationError, match="Invalid cron expression: minute"):
        await client("schedules.create", {**ASKED, "cron_expression": "99 * * * *"})
    with pytest.raises(ValidationError, match="is no time zone"):
        await client("schedules.create", {**ASKED, "timezone": "Mars/Olympus"})
