"""What an endpoint is sent again: failures, what it missed, everything."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.endpoint import run_endpoint
from tests.support.endpoints import create_endpoint
from tests.support.house import assert_invariants, open_api, run_house
from tests.support.tenants import stranger
from tests.support.waiting import until

JOB = {"queue_name": "mail", "payload": {"n": 1}}
LONG_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


async def send(api, n, *, event_type="order.paid", **fields):
    made = await api.ask(
        "POST",
        "/messages",
        json={"event_type": event_type, "payload": {"n": n}, **fields},
        expect=201,
    )
    return made["id"]


async def replay(api, endpoint, *, expect=202, **fields):
    return await api.ask(
        "POST",
        f"/endpoints/{endpoint['id']}/replay",
        json={"since": LONG_AGO, **fields},
        expect=expect,
    )


async def until_over(api, started):
    async def check():
        found = await api.ask("GET", f"/replays/{started['replay_id']}", expect=200)
        return found if found["state"] != "running" else None

    return await until(check, at_most=20)


async def until_dead(api, many):
    async def check():
        found = await api.ask("GET", "/jobs/dlq?limit=100", expect=200)
        return found if len(found) == many else None

    return await until(check, at_most=20)


async def test_failures_are_sent_again_under_the_ids_they_had(api, endpoint):
    endpoint.otherwise = 500
    made = await create_endpoint(api, url=endpoint.url, max_retries=0)
    ids = [await send(api, n) for n in range(5)]
    await until_dead(api, 5)
    endpoint.requests.clear()
    endpoint.otherwise = 200

    over = await until_over(api, await replay(api, made, status="failed"))

    await endpoint.received(5)
    assert sorted(endpoint.ids) == sorted(ids)
    assert over | {"since": 0, "until": 0, "created_at": 0, "finished_at": 0} == {
        "id": over["id"],
        "endpoint_id": made["id"],
        "status": "failed",
        "since": 0,
        "until": 0,
        "filter": None,
        "rate_per_second": 50.0,
        "state": "completed",
        "total": 5,
        "examined": 5,
        "replayed": 5,
        "progress_percent": 100.0,
        "created_at": 0,
        "finished_at": 0,
    }


async def test_of_the_failures_only_what_passes_the_filter_is_sent_again(api, endpoint):
    endpoint.otherwise = 500
    made = await create_endpoint(api, url=endpoint.url, max_retries=0)
    ids = [await send(api, n) for n in range(5)]
    await until_dead(api, 5)
    endpoint.requests.clear()
    endpoint.otherwise = 200

    started = await replay(api, made, status="failed", filter={"n": {"$gte": 3}})
    over = await until_over(api, started)

    assert (over["examined"], over["replayed"]) == (5, 2)
    await endpoint.received(2)
    assert sorted(endpoint.ids) == sorted(ids[3:])


async def test_what_an_endpoint_missed_is_what_never_went_to_it(api, endpoint):
    early = [await send(api, n) for n in range(3)]
    other = await send(api, 9, event_type="user.created")
    made = await create_endpoint(api, url=endpoint.url, event_types=["order.*"])
    late = await send(api, 3)
    await endpoint.received(1)

    over = await until_over(api, await replay(api, made, status="missed"))

    assert (over["total"], over["replayed"]) == (5, 3)
    await endpoint.received(4)
    assert endpoint.ids[0] == late
    assert sorted(endpoint.ids[1:]) == sorted(early)
    assert other not in endpoint.ids
    # It missed nothing any more.
    again = await until_over(api, await replay(api, made, status="missed"))
    assert again["replayed"] == 0


async def test_everything_is_sent_again_delivered_or_dead(api, endpoint):
    made = await create_endpoint(
        api, url=endpoint.url, max_retries=0, format="envelope"
    )
    endpoint.answers = [500]
    first = await send(api, 0)
    await until_dead(api, 1)
    second = await send(api, 1)
    [delivery] = (await api.ask("GET", f"/messages/{second}", expect=200))["deliveries"]
    await api.until_status(delivery["job_id"], "completed")
    sent = {one.id: one.body for one in endpoint.requests}

    over = await until_over(api, await replay(api, made, status="all"))

    assert over["replayed"] == 2
    await endpoint.received(4)
    assert sorted(endpoint.ids[2:]) == sorted([first, second])
    # To the byte what was sent before, signed anew.
    assert {one.id: one.body for one in endpoint.requests[2:]} == sent
    for one in endpoint.requests:
        one.verify(made["secret"])
    assert await api.ask("GET", "/jobs/dlq", expect=200) == []


async def test_no_more_are_sent_again_than_the_rate_allows(api, endpoint):
    for n in range(12):
        await send(api, n)
    made = await create_endpoint(api, url=endpoint.url)

    over = await until_over(
        api, await replay(api, made, status="missed", rate_per_second=8)
    )

    await endpoint.received(12)
    began, ended = (
        datetime.fromisoformat(over[moment]) for moment in ("created_at", "finished_at")
    )
    took = (ended - began).total_seconds()
    print(f"\n12 at 8/s took {took:.2f} s")
    # Four at a time, half a second apart.
    assert took >= 1
    assert over["replayed"] == 12


async def test_dead_letters_are_raised_where_a_plan_has_room_and_wait_for_it(
    api, endpoint, database_url
):
    other = await stranger(api, database_url, max_active_jobs=3)
    endpoint.otherwise = 500
    made = await create_endpoint(other, url=endpoint.url, max_retries=0)
    path = f"/endpoints/{made['id']}"
    for n in range(5):
        await send(other, n)
        await until_dead(other, n + 1)
    # Nothing leaves: what is raised stays active.
    await other.ask("PATCH", path, json={"enabled": False}, expect=200)
    endpoint.otherwise = 200

    started = await replay(other, made, status="failed")

    await until_dead(other, 2)
    status, refused, _ = await other.ask(
        "POST", "/messages", json={"event_type": "a", "payload": 1}
    )
    assert (status, refused["resource"]) == (429, "active_jobs")
    shown = await other.ask("GET", f"/replays/{started['replay_id']}", expect=200)
    assert (shown["state"], shown["replayed"]) == ("running", 3)
    await other.ask("PATCH", path, json={"enabled": True}, expect=200)
    assert (await until_over(other, started))["replayed"] == 5
    await endpoint.received(10)


async def test_deliveries_of_a_replay_are_jobs_of_their_day(
    api, endpoint, database_url, conn
):
    other = await stranger(api, database_url, max_jobs_per_day=2, max_queues=1)
    for n in range(3):
        await send(other, n)
    made = await create_endpoint(other, url=endpoint.url)

    started = await replay(other, made, status="missed")

    await endpoint.received(2)
    usage = await other.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["jobs_today"]["current"] == 2
    status, refused, _ = await other.ask("POST", "/jobs", json=JOB)
    assert (status, refused["resource"]) == (429, "jobs_per_day")
    # Tomorrow.
    await conn.execute("UPDATE daily_usage SET day = day - 1")
    assert (await until_over(other, started))["replayed"] == 3
    await endpoint.received(3)


async def test_a_replay_goes_on_where_another_scheduler_left_it(
    database_url, nats_url, tenant
):
    async with (
        run_house(database_url, nats_url) as house,
        run_endpoint() as endpoint,
        open_api(house, tenant) as api,
    ):
        ids = [await send(api, n) for n in range(30)]
        made = await create_endpoint(api, url=endpoint.url)
        started = await replay(api, made, status="missed", rate_per_second=20)
        await endpoint.received(5)
        await house.stop("scheduler")
        seen = len(endpoint.requests)
        assert seen < 30
        await house.start("scheduler")

        over = await until_over(api, started)

        assert over["replayed"] == 30
        await endpoint.received(30)
        assert sorted(endpoint.ids) == sorted(ids)
    await assert_invariants(database_url)


async def test_a_replay_can_be_cancelled_once(api, endpoint):
    for n in range(10):
        await send(api, n)
    made = await create_endpoint(api, url=endpoint.url)
    started = await replay(api, made, status="missed", rate_per_second=0.5)
    await endpoint.received(1)

    # One at a time.
    await replay(api, made, status="all", expect=409)
    path = f"/replays/{started['replay_id']}"
    ended = await api.ask("POST", f"{path}/cancel", expect=200)

    assert ended["state"] == "cancelled"
    assert ended["finished_at"] is not None
    assert 0 < ended["progress_percent"] < 100
    await api.ask("POST", f"{path}/cancel", expect=409)
    listed = await api.ask("GET", f"/endpoints/{made['id']}/replays", expect=200)
    assert [one["id"] for one in listed] == [started["replay_id"]]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"since": "2999-01-01T00:00:00Z"}, 400, "since"),
        ({"since": "yesterday"}, 422, "since"),
        ({"until": "2001-01-01T00:00:00Z"}, 400, "until"),
        ({"status": "some"}, 400, "status"),
        ({"rate_per_second": 0}, 400, "rate_per_second"),
        ({"filter": {"$nor": []}}, 400, "filter.$nor"),
        ({"from": "2025-01-01T00:00:00Z"}, 400, "from"),
    ],
)
async def test_what_cannot_be_replayed_is_refused_by_name(api, fields, status, field):
    made = await create_endpoint(api)

    code, refused, _ = await api.ask(
        "POST",
        f"/endpoints/{made['id']}/replay",
        json={"since": LONG_AGO, **fields},
    )

    assert code == status, refused
    assert field in refused["message"]


async def test_messages_are_not_replayed_to_what_is_told_of_jobs(api, endpoint):
    asked = {"name": "told", "url": endpoint.url, "events": ["job.completed"]}
    told = await api.ask("POST", "/outgoing-webhooks", json=asked, expect=201)

    await replay(api, told, status="all", expect=404)


async def test_a_replay_of_somebody_elses_endpoint_is_not_found(api):
    nobody = "0191d0a0-0000-7000-8000-000000000001"

    await api.ask(
        "POST", f"/endpoints/{nobody}/replay", json={"since": LONG_AGO}, expect=404
    )
    await api.ask("GET", f"/replays/{nobody}", expect=404)
    await api.ask("POST", f"/replays/{nobody}/cancel", expect=404)
