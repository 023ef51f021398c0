"""The dashboard's first page: exact figures, of what the key may see (contract 1.1)."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.service.test_organizations import as_key, scoped_key
from tests.support.house import new_tenant, open_api, run_house
from tests.support.waiting import until


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest", "scheduler")
    ) as house:
        yield house


async def claimed(api, queue="mail", limit=1):
    body = {"queue_name": queue, "worker_id": "w", "limit": limit}
    return (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]


async def end(api, job, verb, **fields):
    body = {"worker_id": "w", "lease_id": job["lease_id"], **fields}
    await api.ask("POST", f"/jobs/{job['id']}/{verb}", json=body)


async def test_an_empty_house_has_every_figure(api):
    shown = await api.ask("GET", "/dashboard", expect=200)

    system = shown.pop("system")
    assert datetime.fromisoformat(system["started_at"]) <= datetime.now(UTC)
    assert 0 <= system["uptime_seconds"] < 60
    assert (system["database_status"], system["cache_status"]) == (
        "healthy",
        "healthy",
    )
    assert (system["environment"], bool(system["version"])) == ("development", True)
    assert shown["jobs"]["total"] == 0
    assert shown["jobs"]["avg_wait_time_ms"] is None
    assert shown["queues"] == []
    assert shown["workers"] == {"total": 0, "healthy": 0, "unhealthy": 0}
    assert set(shown["recent_activity"].values()) == {0}


async def test_figures_are_exact_whenever_they_are_read(api):
    for _ in range(4):
        await api.create(max_retries=0)
    await api.create(scheduled_at="2999-01-01T00:00:00Z")
    await api.create(queue_name="sms")
    first, second, _ = await claimed(api, limit=3)
    await end(api, first, "complete", result={"ok": True})
    await end(api, second, "fail", error="no")
    await api.ask("POST", "/queues/sms/pause", expect=200)
    for name in ("one", "two"):
        worker = {"queue_name": "mail", "hostname": name}
        made = await api.ask("POST", "/workers/register", json=worker, expect=201)
    await api.ask("POST", f"/workers/{made['id']}/deregister", expect=204)

    shown = await api.ask("GET", "/dashboard", expect=200)

    averages = {
        shown["jobs"].pop(f"avg_{what}_time_ms") for what in ("wait", "processing")
    }
    assert None not in averages
    assert shown["jobs"] == {
        "total": 6,
        "pending": 2,
        "scheduled": 1,
        "processing": 1,
        "completed_24h": 1,
        "failed_24h": 1,
        "deadletter": 1,
    }
    assert shown["queues"] == [
        {"name": "mail", "pending": 1, "processing": 1, "paused": False},
        {"name": "sms", "pending": 1, "processing": 0, "paused": True},
    ]
    assert shown["workers"] == {"total": 1, "healthy": 1, "unhealthy": 0}
    assert shown["recent_activity"] == {
        "jobs_created_1h": 6,
        "jobs_completed_1h": 1,
        "jobs_failed_1h": 1,
    }


async def test_a_key_sees_its_queues_and_no_other_tenant(api, house, database_url):
    other = await new_tenant(database_url, slug="other")
    async with open_api(house, other) as neighbour:
        await neighbour.create()
    await api.create()
    await api.create(queue_name="sms")
    for queue in ("mail", "sms"):
        worker = {"queue_name": queue, "hostname": "h"}
        await api.ask("POST", "/workers/register", json=worker, expect=201)
    headers = as_key(await scoped_key(api, "sms"))

    shown = await api.ask("GET", "/dashboard", headers=headers, expect=200)

    assert shown["jobs"]["total"] == 1
    assert [queue["name"] for queue in shown["queues"]] == ["sms"]
    assert shown["workers"]["total"] == 1
    assert shown["recent_activity"]["jobs_created_1h"] == 1


async def test_what_happened_is_told_as_points_in_time(api):
    for _ in range(3):
        await api.create(max_retries=0)
    first, second = await claimed(api, limit=2)
    await end(api, first, "complete", result={})
    await end(api, second, "fail", error="no")

    async def told():
        shown = await api.ask("GET", "/dashboard/series?hours=2", expect=200)
        # Midnight of five minutes may pass meanwhile.
        sums = {
            name: sum(point[name] for point in shown["points"])
            for name in ("created", "completed", "failed")
        }
        assert sums == {"created": 3, "completed": 1, "failed": 1}
        return shown

    shown = await until(told)

    assert (shown["bucket_seconds"], len(shown["points"])) == (300, 24)
    moments = [datetime.fromisoformat(point["at"]) for point in shown["points"]]
    assert {(b - a).seconds for a, b in pairwise(moments)} == {300}
    assert (shown["points"][0]["open"], shown["points"][-1]["open"]) == (0, 1)
    averages = [point["avg_processing_time_ms"] for point in shown["points"]]
    assert sum(average is not None for average in averages) == 1
    scoped = as_key(await scoped_key(api, "sms"))
    for path in ("", "?queue=mail"):
        other = await api.ask(
            "GET", f"/dashboard/series{path}", headers=scoped, expect=200
        )
        assert {point["created"] for point in other["points"]} == {0}


async def test_at_most_twenty_queues_are_shown_the_busiest_first(api):
    for number in range(22):
        await api.create(queue_name=f"queue-{number:02}")
    await api.create(queue_name="queue-21")

    shown = await api.ask("GET", "/dashboard", expect=200)

    assert len(shown["queues"]) == 20
    assert shown["queues"][0] == {
        "name": "queue-21",
        "pending": 2,
        "processing": 0,
        "paused": False,
    }
