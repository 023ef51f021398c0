"""Who is first may change while nobody works on a job."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.house import new_tenant, open_api


async def reprioritize(api, job_id, priority, *, expect=200):
    body = {"priority": priority}
    return await api.ask("PUT", f"/jobs/{job_id}/priority", json=body, expect=expect)


async def claim(api, *, limit=10):
    asked = {"queue_name": "mail", "worker_id": "worker-1", "limit": limit}
    answer = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    return [job["id"] for job in answer["jobs"]]


async def test_a_job_overtakes_others_when_it_matters_more(api):
    first, second, third = [await api.create() for _ in range(3)]

    changed = await reprioritize(api, third, 50)
    await reprioritize(api, first, -100)

    assert changed == {"job_id": third, "old_priority": 0, "new_priority": 50}
    assert (await api.job(third))["priority"] == 50
    assert await claim(api) == [third, second, first]
    assert await api.history(third) == ["created", "reprioritized", "started"]


async def test_it_keeps_its_place_among_its_equals(api):
    jobs = [await api.create() for _ in range(3)]
    await reprioritize(api, jobs[0], 7)
    await reprioritize(api, jobs[0], 0)

    assert await claim(api) == jobs


async def test_a_job_that_waits_for_its_time_or_for_another_changes_too(api):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    parent = await api.create()
    scheduled = await api.create(scheduled_at=later)
    child = await api.create(parent_job_id=parent)

    for job_id in (scheduled, child):
        changed = await reprioritize(api, job_id, 9)
        assert (changed["old_priority"], changed["new_priority"]) == (0, 9)
        assert (await api.job(job_id))["priority"] == 9
    assert (await api.job(scheduled))["status"] == "scheduled"


async def test_its_history_tells_both_priorities(api):
    job_id = await api.create(priority=1)
    await reprioritize(api, job_id, 2)

    rows = await api.ask("GET", f"/jobs/{job_id}/history", expect=200)

    assert rows[-1]["details"] == {
        "place": "ready",
        "old_priority": 1,
        "new_priority": 2,
    }


async def test_it_is_too_late_once_somebody_works_on_it(api):
    job_id = await api.create()
    assert await claim(api) == [job_id]

    refused = await reprioritize(api, job_id, 5, expect=404)

    assert refused["code"] == "NOT_FOUND"
    assert (await api.job(job_id))["priority"] == 0


async def test_it_is_too_late_once_it_has_ended(api):
    job_id = await api.create()
    await api.ask("DELETE", f"/jobs/{job_id}", expect=204)

    await reprioritize(api, job_id, 5, expect=404)


async def test_nobody_changes_what_is_not_theirs(api, house):
    job_id = await api.create()
    stranger = await new_tenant(house.database_url, slug="stranger")
    async with open_api(house, stranger) as theirs:
        await reprioritize(theirs, job_id, 5, expect=404)
    await reprioritize(api, "no-id", 5, expect=404)

    assert (await api.job(job_id))["priority"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"priority": 101}, 400),
        ({"priority": -101}, 400),
        ({"priority": "high"}, 422),
        ({"priority": None}, 422),
        ({}, 422),
    ],
)
async def test_a_priority_is_a_number_in_its_range(api, body, status):
    job_id = await api.create()

    await api.ask("PUT", f"/jobs/{job_id}/priority", json=body, expect=status)
