"""Schedules within plans and scopes, triggered by hand, and seen before they are."""

from datetime import datetime

import pytest

from tests.support.house import run_house
from tests.support.tenants import scoped, stranger
from tests.support.waiting import until

BODY = {
    "name": "Morning report",
    "queue_name": "reports",
    "cron_expression": "0 0 1 1 *",
    "payload_template": {"kind": "daily"},
}


@pytest.fixture
async def house(database_url, nats_url):
    """Nobody fires anything: what comes next stays."""
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


def body(**changes):
    return {**BODY, **changes}


async def made(api, **changes):
    return await api.ask("POST", "/schedules", json=body(**changes), expect=201)


def moment(text):
    return datetime.fromisoformat(text)


# --- plans and scopes -----------------------------------------------------------------


async def test_a_plan_counts_schedules_that_fire(api, database_url):
    few = await stranger(api, database_url, max_schedules=1, max_queues=1)
    first = await made(few)
    status, refused, _ = await few.ask("POST", "/schedules", json=body())
    assert (status, refused["code"], refused["resource"]) == (
        429,
        "QUOTA_EXCEEDED",
        "schedules",
    )
    usage = await few.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["schedules"]["current"] == 1
    assert usage["usage"]["queues"]["current"] == 1

    await few.ask("POST", f"/schedules/{first['id']}/pause", expect=200)
    second = await made(few)
    status, refused, _ = await few.ask("POST", f"/schedules/{first['id']}/resume")
    assert (status, refused["resource"]) == (429, "schedules")
    await few.ask("DELETE", f"/schedules/{second['id']}", expect=204)
    await few.ask("POST", f"/schedules/{first['id']}/resume", expect=200)


async def test_a_plan_counts_the_queues_of_schedules(api, database_url):
    few = await stranger(api, database_url, max_queues=1)
    await made(few)

    status, refused, _ = await few.ask(
        "POST", "/schedules", json=body(queue_name="another")
    )

    assert (status, refused["resource"]) == (429, "queues")


async def test_a_payload_is_within_the_plan_when_it_is_made_and_when_it_fires(
    api, database_url, conn
):
    small = await stranger(api, database_url, max_payload_size_bytes=100)
    status, refused, _ = await small.ask(
        "POST", "/schedules", json=body(payload_template="x" * 200)
    )
    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")
    schedule = await made(small, payload_template="x" * 90)
    await conn.execute(
        "UPDATE schedules SET payload = to_json(repeat('x', 200)) WHERE id = $1::uuid",
        schedule["id"],
    )

    status, refused, _ = await small.ask("POST", f"/schedules/{schedule['id']}/trigger")

    assert (status, refused["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_key_for_some_queues_sees_schedules_of_these(api):
    reports = await made(api)
    mail = await made(api, queue_name="mail")
    for_mail = await scoped(api, "mail")

    rows = await for_mail.ask("GET", "/schedules", expect=200)
    assert [row["id"] for row in rows] == [mail["id"]]
    for method, path in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/trigger"),
        ("GET", "/history"),
    ):
        status, _, _ = await for_mail.ask(
            method,
            f"/schedules/{reports['id']}{path}",
            json={} if method == "PUT" else None,
        )
        assert status == 404, (method, path)
    status, refused, _ = await for_mail.ask("POST", "/schedules", json=body())
    assert (status, refused["code"]) == (403, "ACCESS_DENIED")
    assert await made(for_mail, queue_name="mail")


# --- trigger and preview --------------------------------------------------------------


async def test_a_trigger_makes_a_job_now_and_is_told_of(api, conn):
    schedule = await made(api, priority=4, tags=["t"], max_retries=1)
    path = f"/schedules/{schedule['id']}"
    await api.ask("POST", f"{path}/pause", expect=200)

    triggered = await api.ask("POST", f"{path}/trigger", expect=200)

    job = await api.job(triggered["job_id"])
    assert (job["payload"], job["priority"], job["tags"]) == (
        {"kind": "daily"},
        4,
        ["t"],
    )
    assert (job["max_retries"], job["status"]) == (1, "pending")
    seen = await api.ask("GET", path, expect=200)
    assert (seen["run_count"], seen["last_run_at"]) == (1, triggered["triggered_at"])
    assert seen["next_run_at"] == schedule["next_run_at"]
    [run] = await api.ask("GET", f"{path}/history", expect=200)
    assert run == {
        "id": run["id"],
        "schedule_id": schedule["id"],
        "job_id": triggered["job_id"],
        "status": "pending",
        "error_message": None,
        "started_at": triggered["triggered_at"],
        "completed_at": None,
        "job_status": "pending",
        "tick": None,
        "source": "schedule_trigger",
        "missed": 0,
    }
    told = await conn.fetchrow(
        "SELECT data::text FROM notices WHERE event = 'schedule.triggered'"
    )
    for word in (schedule["id"], triggered["job_id"], "reports", "schedule_trigger"):
        assert f'"{word}"' in told["data"]


async def test_a_run_is_what_its_job_is(api):
    schedule = await made(api, max_retries=0)
    path = f"/schedules/{schedule['id']}"
    for _ in range(4):
        await api.ask("POST", f"{path}/trigger", expect=200)
    claim = {"queue_name": "reports", "worker_id": "w", "limit": 3}
    claimed = await api.ask("POST", "/jobs/claim", json=claim, expect=200)
    ended = [{**job, "worker_id": "w"} for job in claimed["jobs"][:2]]
    by = {
        name: {k: job[k] for k in ("worker_id", "lease_id")}
        for name, job in zip(("complete", "fail"), ended, strict=True)
    }
    for name, job in zip(by, ended, strict=True):
        asked = {**by[name], "error": "no"} if name == "fail" else by[name]
        await api.ask("POST", f"/jobs/{job['id']}/{name}", json=asked, expect=200)

    async def runs():
        rows = await api.ask("GET", f"{path}/history", expect=200)
        return [(row["status"], row["job_status"]) for row in rows]

    wanted = [
        ("pending", "pending"),
        ("running", "processing"),
        ("failed", "deadletter"),
        ("completed", "completed"),
    ]

    async def check():
        return await runs() == wanted

    await until(check, at_most=10)
    rows = await api.ask("GET", f"{path}/history", expect=200)
    assert [row["completed_at"] is not None for row in rows] == [
        False,
        False,
        True,
        True,
    ]
    assert rows[2]["error_message"] == "no"
    _, page, headers = await api.ask("GET", f"{path}/history?limit=3&offset=1")
    assert [row["id"] for row in page] == [row["id"] for row in rows[1:]]
    assert headers["X-Has-More"] == "false"


async def test_a_trigger_needs_room(api, database_url):
    few = await stranger(api, database_url, max_active_jobs=1)
    schedule = await made(few)
    path = f"/schedules/{schedule['id']}"
    await few.ask("POST", f"{path}/trigger", expect=200)

    status, refused, _ = await few.ask("POST", f"{path}/trigger")

    assert (status, refused["resource"]) == (429, "active_jobs")
    assert len(await few.ask("GET", f"{path}/history", expect=200)) == 1


async def test_a_payload_names_the_tick_it_is_for(api):
    schedule = await made(
        api,
        payload_template={
            "a": "at {{schedule.tick}}, {{ schedule.source }}",
            "b": "{{schedule.id}} {{schedule.missed}} {{schedule.other}} {{x}}",
        },
    )

    triggered = await api.ask(
        "POST", f"/schedules/{schedule['id']}/trigger", expect=200
    )

    job = await api.job(triggered["job_id"])
    at = moment(triggered["triggered_at"])
    assert job["payload"] == {
        "a": f"at {at:%Y-%m-%dT%H:%M:%SZ}, schedule_trigger",
        "b": f"{schedule['id']} 0 {{{{schedule.other}}}} {{{{x}}}}",
    }


async def test_a_preview_tells_of_the_clocks(api):
    asked = {
        "cron_expression": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "from": "2026-03-28T00:00:00Z",
        "count": 3,
    }

    seen = await api.ask("POST", "/schedules/preview", json=asked, expect=200)

    assert [(one["local"], one["utc"][:16]) for one in seen["fires"]] == [
        ("2026-03-28T02:30:00+01:00", "2026-03-28T01:30"),
        ("2026-03-29T03:00:00+02:00", "2026-03-29T01:00"),
        ("2026-03-30T02:30:00+02:00", "2026-03-30T00:30"),
    ]
    assert await api.ask("GET", "/schedules", expect=200) == []


async def test_a_preview_shows_as_many_as_there_are(api):
    for changes, fires in (
        ({}, 10),
        ({"count": 100}, 100),
        ({"cron_expression": "@every 90s"}, 10),
        ({"cron_expression": "@at 2999-01-01T00:00:00Z"}, 1),
        ({"cron_expression": "@at 2001-01-01T00:00:00Z"}, 0),
        ({"timezone": "+05:30"}, 10),
    ):
        asked = {"cron_expression": "*/5 * * * *", **changes}
        seen = await api.ask("POST", "/schedules/preview", json=asked, expect=200)
        assert len(seen["fires"]) == fires, changes


async def test_a_preview_says_what_is_wrong(api):
    for changes, field in (
        ({"cron_expression": "nonsense"}, "cron_expression"),
        ({"timezone": "nowhere"}, "timezone"),
        ({"count": 101}, "count"),
        ({"from": "yesterday"}, "from"),
    ):
        asked = {"cron_expression": "*/5 * * * *", **changes}
        status, refused, _ = await api.ask("POST", "/schedules/preview", json=asked)
        assert status in {400, 422}
        assert refused["details"][0]["field"] == field
