"""Schedules as people keep them: made, seen, changed, paused and deleted."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest

from tests.support.house import run_house

#: Far from now, whenever that is.
QUIET = "0 0 1 1 *"
BODY = {
    "name": "Morning report",
    "queue_name": "reports",
    "cron_expression": QUIET,
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


# --- what it says ---------------------------------------------------------------------


async def test_a_new_schedule_is_shown_whole(api):
    schedule = await made(
        api,
        description="Every New Year",
        timezone="Europe/Berlin",
        priority=7,
        tags=["a"],
        metadata={"owner": "ada"},
    )

    assert schedule == await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)
    year = datetime.now(UTC).year + 1
    assert moment(schedule["next_run_at"]) == datetime(
        year - 1, 12, 31, 23, 0, tzinfo=UTC
    )
    kept = {
        "organization_id": str(api.tenant.id),
        "name": "Morning report",
        "description": "Every New Year",
        "cron_expression": QUIET,
        "timezone": "Europe/Berlin",
        "queue_name": "reports",
        "payload_template": {"kind": "daily"},
        "priority": 7,
        "max_retries": 3,
        "timeout_seconds": 300,
        "is_active": True,
        "state": "active",
        "last_run_at": None,
        "run_count": 0,
        "tags": ["a"],
        "metadata": {"owner": "ada"},
        "target": None,
        "retry": None,
        "start_at": None,
        "end_at": None,
        "jitter_seconds": 0,
        "misfire": "coalesce",
        "catch_up": None,
        "overlap": "allow",
    }
    assert {name: schedule[name] for name in kept} == kept


async def test_what_it_does_not_say_is_what_its_queue_says(api):
    schedule = await made(api)
    config = {"max_retries": 9, "default_timeout": 77}
    await api.ask("PUT", "/queues/reports/config", json=config, expect=200)

    seen = await api.ask("GET", f"/schedules/{schedule['id']}", expect=200)

    assert (seen["max_retries"], seen["timeout_seconds"]) == (9, 77)


async def test_a_payload_stays_byte_for_byte(api, conn):
    spelled = '{"a":  1.0, "b":[1,2 ,3]}'
    text = (
        '{"name":"n","queue_name":"q","cron_expression":"@daily",'
        f'"payload_template":{spelled}}}'
    )

    await api.ask(
        "POST",
        "/schedules",
        data=text,
        headers={"Content-Type": "application/json"},
        expect=201,
    )

    assert await conn.fetchval("SELECT payload FROM schedules") == spelled


async def test_where_it_goes_is_shown(api):
    target = {
        "url": "http://127.0.0.1:9/hook",
        "method": "PUT",
        "headers": {"x-a": "b"},
        "timeout_seconds": 3.0,
    }
    endpoint = await api.ask(
        "POST", "/endpoints", json={"url": "http://127.0.0.1:9/"}, expect=201
    )

    by_url = await made(api, target=target)
    to_endpoint = await made(api, target={"endpoint_id": endpoint["id"]})

    assert by_url["target"] == target
    assert to_endpoint["target"] == {"endpoint_id": endpoint["id"]}
    path = f"/schedules/{by_url['id']}"
    changed = await api.ask("PUT", path, json={"target": None}, expect=200)
    assert changed["target"] is None


# --- what it must not say -------------------------------------------------------------


#: What is asked for, the field that is wrong then, and what is said of it.
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"cron_expression": "61 * * * *"}, "cron_expression", "minute: 61 is not"),
    ({"cron_expression": "* * * *"}, "cron_expression", "must have 5 fields"),
    ({"cron_expression": "*/0 * * * *"}, "cron_expression", "needs a step"),
    ({"cron_expression": "0 0 30 2 *"}, "cron_expression", "is in none of"),
    ({"cron_expression": ""}, "cron_expression", "must have 1 to 100"),
    ({"cron_expression": "@at 2020-01-01T00:00Z"}, "cron_expression", "never"),
    ({"timezone": "Mars/Olympus"}, "timezone", "is no time zone"),
    ({"name": ""}, "name", "must have at least 1 character"),
    ({"priority": 101}, "priority", "must be at most 100"),
    ({"queue_name": "-x"}, "queue_name", "Queue name can only contain"),
    ({"jitter_seconds": -1}, "jitter_seconds", "must be at least 0"),
    ({"misfire": "sometimes"}, "misfire", "must be skip, coalesce or catch_up"),
    ({"overlap": "perhaps"}, "overlap", "must be allow, skip, queue_one or"),
    ({"catch_up": {"max": 3}}, "catch_up", "is for misfire catch_up only"),
    (
        {"misfire": "catch_up", "catch_up": {"most": 3}},
        "catch_up.most",
        "is not a field we know here",
    ),
    (
        {"start_at": "2027-01-01T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"},
        "end_at",
        "must be later than start_at",
    ),
    (
        {"cron_expression": "@yearly", "end_at": "2020-01-01T00:00:00Z"},
        "end_at",
        "is before the next time that it would fire",
    ),
    ({"target": {"url": "ftp://x/"}}, "target.url", "http"),
    ({"target": {"endpoint_id": "x"}}, "target.endpoint_id", "must be an endpoint"),
    (
        {"target": {"endpoint_id": "01890a5d-ac96-774b-bcce-b302099a8057"}},
        "target.endpoint_id",
        "must be an endpoint of yours",
    ),
    ({"target": {}}, "target.url", "is required"),
    ({"target": {"endpoint_id": "x", "url": "y"}}, "target", "a url or an endpoint"),
    ({"tags": "x" * 70_000}, "tags", "must not exceed 64 KiB"),
    ({"metadata": {"a": "\x00"}}, "metadata", "must not contain a NUL"),
]


async def test_what_is_wrong_is_said_where_it_is(api):
    for changes, field, words in WRONG:
        status, refused, _ = await api.ask("POST", "/schedules", json=body(**changes))

        assert status in {400, 422}, (changes, refused)
        fault = refused["details"][0]
        assert (fault["field"], words in fault["message"]) == (field, True), fault
        if field == "cron_expression":
            assert (status, refused["code"]) == (400, "BAD_REQUEST")
            assert refused["message"].startswith("Invalid cron expression: ")


async def test_a_payload_has_an_end(api):
    text = json.dumps(body(payload_template="x" * 1_048_577))

    status, refused, _ = await api.ask(
        "POST",
        "/schedules",
        data=BytesIO(text.encode()),
        headers={"Content-Type": "application/json"},
    )

    assert (status, refused["details"][0]["field"]) == (400, "payload_template")
    assert "Payload too large" in refused["message"]


async def test_a_missing_field_is_missing(api):
    for name in ("name", "cron_expression", "queue_name", "payload_template"):
        asked = {key: value for key, value in BODY.items() if key != name}
        status, refused, _ = await api.ask("POST", "/schedules", json=asked)
        assert (status, refused["details"][0]["field"]) == (422, name)


# --- changes --------------------------------------------------------------------------


async def test_a_change_keeps_what_it_does_not_name(api):
    schedule = await made(api, description="old", tags=["a"], priority=5)
    path = f"/schedules/{schedule['id']}"

    changed = await api.ask(
        "PUT",
        path,
        json={
            "name": "New",
            "description": None,
            "tags": None,
            "priority": None,
            "payload_template": None,
            "queue_name": "elsewhere",
        },
        expect=200,
    )

    wanted = {**schedule, "name": "New", "updated_at": changed["updated_at"]}
    assert changed == wanted
    assert moment(changed["updated_at"]) > moment(schedule["updated_at"])


async def test_what_comes_next_is_found_anew_when_the_time_changes(api):
    schedule = await made(api)
    path = f"/schedules/{schedule['id']}"

    changed = await api.ask("PUT", path, json={"timezone": "Asia/Tokyo"}, expect=200)
    before, after = (moment(one["next_run_at"]) for one in (schedule, changed))
    assert before - after == timedelta(hours=9)
    changed = await api.ask(
        "PUT", path, json={"cron_expression": "@hourly"}, expect=200
    )
    assert moment(changed["next_run_at"]) - datetime.now(UTC) <= timedelta(hours=1)
    status, refused, _ = await api.ask("PUT", path, json={"cron_expression": "no"})
    assert (status, refused["code"]) == (400, "BAD_REQUEST")
    assert await api.ask("GET", path, expect=200) == changed


async def test_bounds_can_be_taken_away(api):
    start = "2040-01-01T00:00:00Z"
    schedule = await made(api, start_at=start, end_at="2041-01-01T00:00:00Z")
    path = f"/schedules/{schedule['id']}"
    assert moment(schedule["next_run_at"]) == moment(start)

    changed = await api.ask("PUT", path, json={"start_at": None}, expect=200)

    assert changed["start_at"] is None
    assert changed["end_at"] is not None
    assert moment(changed["next_run_at"]).year < 2040


async def test_policies_can_be_changed(api):
    schedule = await made(api, misfire="catch_up")
    path = f"/schedules/{schedule['id']}"
    assert schedule["catch_up"] == {"max": 100, "window_seconds": 86_400}

    changed = await api.ask(
        "PUT", path, json={"catch_up": {"max": 3, "window_seconds": 60}}, expect=200
    )
    assert changed["catch_up"] == {"max": 3, "window_seconds": 60}
    changed = await api.ask("PUT", path, json={"misfire": "skip"}, expect=200)
    assert changed["catch_up"] is None


async def test_jitter_is_the_same_for_the_same_tick(api):
    schedule = await made(api, jitter_seconds=600)
    path = f"/schedules/{schedule['id']}"

    late = moment(schedule["next_run_at"]) - moment(schedule["next_tick"])
    assert timedelta() <= late < timedelta(seconds=600)
    await api.ask("POST", f"{path}/pause", expect=200)
    resumed = await api.ask("POST", f"{path}/resume", expect=200)
    assert resumed["next_run_at"] == schedule["next_run_at"]


async def test_a_paused_schedule_shows_what_would_come_and_can_be_resumed(api):
    schedule = await made(api)
    path = f"/schedules/{schedule['id']}"

    paused = await api.ask("POST", f"{path}/pause", expect=200)
    assert (paused["is_active"], paused["state"]) == (False, "paused")
    assert paused["next_run_at"] == schedule["next_run_at"]
    assert await api.ask("POST", f"{path}/pause", expect=200)
    resumed = await api.ask("POST", f"{path}/resume", expect=200)
    assert (resumed["is_active"], resumed["state"]) == (True, "active")
    assert await api.ask("POST", f"{path}/resume", expect=200) == resumed


async def test_a_deleted_schedule_is_gone(api):
    schedule = await made(api)
    path = f"/schedules/{schedule['id']}"
    job = (await api.ask("POST", f"{path}/trigger", expect=200))["job_id"]

    await api.ask("DELETE", path, expect=204)

    for method, where in (
        ("GET", path),
        ("DELETE", path),
        ("POST", f"{path}/trigger"),
        ("GET", f"{path}/history"),
    ):
        status, _, _ = await api.ask(method, where)
        assert status == 404
    assert (await api.job(job))["status"] == "pending"


async def test_lists_are_newest_first_and_can_be_filtered(api):
    one = await made(api)
    two = await made(api, queue_name="mail")
    three = await made(api)
    await api.ask("POST", f"/schedules/{one['id']}/pause", expect=200)

    async def listed(query=""):
        _, rows, headers = await api.ask("GET", f"/schedules{query}")
        return [row["id"] for row in rows], headers["X-Has-More"]

    assert await listed() == ([three["id"], two["id"], one["id"]], "false")
    assert await listed("?limit=2") == ([three["id"], two["id"]], "true")
    assert await listed("?limit=2&offset=2") == ([one["id"]], "false")
    assert await listed("?queue_name=mail") == ([two["id"]], "false")
    assert await listed("?is_active=false") == ([one["id"]], "false")
    assert await listed("?is_active=true&queue_name=reports") == (
        [three["id"]],
        "false",
    )
