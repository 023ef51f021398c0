"""Dead letters in groups, and by name: what they died of, and away with some."""

import pytest

from tests.service.test_organizations import as_key, scoped_key
from tests.support.house import run_house


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def die(api, error, *, queue="mail", times=1):
    """Let jobs fail for good; return their ids."""
    made = [await api.create(queue_name=queue, max_retries=0) for _ in range(times)]
    body = {"queue_name": queue, "worker_id": "w", "limit": times}
    for job in (await api.ask("POST", "/jobs/claim", json=body, expect=200))["jobs"]:
        answer = {"worker_id": "w", "lease_id": job["lease_id"], "error": error}
        await api.ask("POST", f"/jobs/{job['id']}/fail", json=answer, expect=200)
    return made


def short(groups):
    return [(g["queue_name"], g["error"], g["count"]) for g in groups["groups"]]


async def listed(api, **query):
    rows = await api.ask("GET", "/jobs/dlq", params=query, expect=200)
    return {row["id"] for row in rows}


async def test_they_are_grouped_by_queue_and_error(api):
    long = "x" * 300
    await die(api, "HTTP 500", times=3)
    await die(api, "HTTP 500", queue="sms", times=2)
    await die(api, long)

    found = await api.ask("GET", "/jobs/dlq/groups", expect=200)
    of_queue = await api.ask("GET", "/jobs/dlq/groups?queue=sms", expect=200)
    headers = as_key(await scoped_key(api, "sms"))
    scoped = await api.ask("GET", "/jobs/dlq/groups", headers=headers, expect=200)
    closed = await api.ask(
        "GET", "/jobs/dlq/groups?queue=mail", headers=headers, expect=200
    )

    assert short(found) == [
        ("mail", "HTTP 500", 3),
        ("sms", "HTTP 500", 2),
        ("mail", long[:200], 1),
    ]
    assert (found["examined"], found["complete"]) == (6, True)
    assert {g["dead_reason"] for g in found["groups"]} == {"attempts_exhausted"}
    assert all(g["first_at"] <= g["last_at"] for g in found["groups"])
    assert short(of_queue) == short(scoped) == [("sms", "HTTP 500", 2)]
    assert closed == {"groups": [], "examined": 0, "complete": True}


@pytest.mark.parametrize("order", [{}, {"order_by": "priority"}])
async def test_the_error_of_a_group_finds_its_letters(api, order):
    long = "y" * 300
    expected = set(await die(api, long, times=2))
    await die(api, "HTTP 500")

    assert await listed(api, error=long[:200], **order) == expected
    assert await listed(api, error="HTTP 50", **order) == set()
    rows = await api.ask("GET", "/jobs", params={"error": long[:200]}, expect=200)
    assert {row["id"] for row in rows} == expected


async def test_those_named_are_purged_and_no_others(api):
    first, second, third = await die(api, "no", times=3)
    [other] = await die(api, "no", queue="sms")
    headers = as_key(await scoped_key(api, "mail"))

    async def purge(ids, expect=200, **more):
        body = {"confirm": True, "job_ids": ids, **more}
        return await api.ask("POST", "/jobs/dlq/purge", json=body, expect=expect)

    assert (await purge([first, "nothing"]))["purged_count"] == 1
    assert (await purge([second, other], queue_name="mail"))["purged_count"] == 1
    assert (await purge([]))["purged_count"] == 0
    await purge(["x"] * 101, expect=400)
    body = {"confirm": True, "job_ids": [other], "queue_name": "mail"}
    answer = await api.ask(
        "POST", "/jobs/dlq/purge", json=body, headers=headers, expect=200
    )

    assert answer["purged_count"] == 0
    assert await listed(api) == {third, other}
