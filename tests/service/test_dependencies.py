"""Jobs that wait for jobs: let go when their parents complete, cancelled when not."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.house import new_tenant, open_api

WORKER = "worker-1"


async def claim(api, *, limit=10):
    asked = {"queue_name": "mail", "worker_id": WORKER, "limit": limit}
    answer = await api.ask("POST", "/jobs/claim", json=asked, expect=200)
    return [job["id"] for job in answer["jobs"]]


async def complete(api, job_id):
    body = {"worker_id": WORKER}
    await api.ask("POST", f"/jobs/{job_id}/complete", json=body, expect=200)


async def give_up(api, job_id):
    body = {"worker_id": WORKER, "error": "no use", "retry": False}
    await api.ask("POST", f"/jobs/{job_id}/fail", json=body, expect=200)


async def depend(api, job_id, *parents, expect=200, **fields):
    body = {"depends_on": list(parents), **fields}
    path = f"/jobs/{job_id}/dependencies"
    return await api.ask("POST", path, json=body, expect=expect)


async def family(api, job_id):
    return await api.ask("GET", f"/jobs/{job_id}/dependencies", expect=200)


def soon(seconds=3600.0):
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# --- a parent, given at the create ----------------------------------------------------


async def test_a_child_waits_until_its_parent_has_completed(api):
    parent = await api.create()
    child = await api.create(parent_job_id=parent)
    waiting = await api.job(child)
    assert (waiting["status"], waiting["dependencies_met"]) == ("pending", False)
    assert waiting["parent_job_id"] == parent
    assert waiting["dependency_mode"] == "all"

    assert await claim(api) == [parent]
    await complete(api, parent)

    assert await claim(api) == [child]
    assert (await api.job(child))["dependencies_met"] is True
    assert await api.history(child) == ["created", "unblocked", "started"]


async def test_a_child_of_a_completed_parent_need_not_wait(api):
    parent = await api.create()
    await claim(api)
    await complete(api, parent)

    child = await api.create(parent_job_id=parent)

    assert (await api.job(child))["dependencies_met"] is True
    assert await claim(api) == [child]


async def test_a_parent_that_fails_takes_its_family_along(api):
    parent = await api.create(max_retries=0)
    child = await api.create(parent_job_id=parent)
    grandchild = await api.create(parent_job_id=child)
    await claim(api)

    await give_up(api, parent)

    for job_id in (child, grandchild):
        await api.until_status(job_id, "cancelled")
        rows = await api.ask("GET", f"/jobs/{job_id}/history", expect=200)
        assert rows[-1]["event_type"] == "job.cancelled"
        assert rows[-1]["details"]["reason"] == "parent_failed"


async def test_a_parent_that_is_cancelled_takes_its_child_along_at_once(api):
    parent = await api.create()
    child = await api.create(parent_job_id=parent)

    await api.ask("DELETE", f"/jobs/{parent}", expect=204)

    assert (await api.job(child))["status"] == "cancelled"


async def test_a_parent_that_expires_takes_its_child_along(api):
    parent = await api.create(expires_at=soon(0.3))
    child = await api.create(parent_job_id=parent)

    await api.until_status(parent, "expired")
    await api.until_status(child, "cancelled")


async def test_a_child_still_has_its_time(api):
    parent = await api.create()
    child = await api.create(parent_job_id=parent, scheduled_at=soon())
    await claim(api)
    await complete(api, parent)

    job = await api.until_status(child, "scheduled")

    assert job["scheduled_at"] is not None
    assert await api.history(child) == ["created", "unblocked"]


async def test_a_push_job_waits_as_well(api, endpoint):
    parent = await api.create()
    child = await api.create(endpoint.url, parent_job_id=parent)
    await claim(api)
    await complete(api, parent)

    await api.until_status(child, "completed")


async def test_a_parent_is_a_job_of_the_same_queue(api, house, tenant):
    other_queue = await api.create(queue_name="other")
    stranger = await new_tenant(house.database_url, slug="stranger")
    async with open_api(house, stranger) as theirs:
        of_a_stranger = await theirs.create()

    for parent in (other_queue, of_a_stranger, "no-id", stranger.id):
        body = {"queue_name": "mail", "payload": 1, "parent_job_id": str(parent)}
        refused = await api.ask("POST", "/jobs", json=body, expect=400)
        assert refused["code"] == "VALIDATION_ERROR"
        assert refused["details"][0]["field"] == "parent_job_id"


async def test_in_a_bulk_only_the_job_without_its_parent_is_refused(api):
    parent = await api.create()
    bulk = {
        "queue_name": "mail",
        "jobs": [
            {"payload": 1, "parent_job_id": parent},
            {"payload": 2, "parent_job_id": await api.create(queue_name="other")},
            {"payload": 3},
        ],
    }

    made = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)

    assert [one["index"] for one in made["succeeded"]] == [0, 2]
    assert [one["index"] for one in made["failed"]] == [1]
    assert "parent_job_id" in made["failed"][0]["error"]


# --- dependencies, added later --------------------------------------------------------


async def test_a_job_waits_for_all_it_was_told_to_wait_for(api):
    first, second = await api.create(), await api.create()
    child = await api.create()

    added = await depend(api, child, first, second)

    assert added == {
        "job_id": child,
        "dependencies_added": 2,
        "added_count": 2,
        "added": sorted([first, second]),
        "dependencies_met": False,
    }
    assert await claim(api) == [first, second]
    await complete(api, first)
    assert await claim(api) == []
    await complete(api, second)
    assert await claim(api) == [child]
    assert await api.history(child) == ["created", "blocked", "unblocked", "started"]


async def test_any_one_will_do_when_it_was_said_so(api):
    first, second = await api.create(), await api.create()
    child = await api.create()
    await depend(api, child, first, second, dependency_mode="any")
    assert await claim(api) == [first, second]

    await give_up(api, first)
    assert (await api.job(child))["status"] == "pending"
    await complete(api, second)

    assert await claim(api) == [child]


@pytest.mark.parametrize(
    ("kind", "ending", "becomes"),
    [
        ("success", "completed", "runs"),
        ("success", "failed", "cancelled"),
        ("completion", "completed", "runs"),
        ("completion", "failed", "runs"),
        ("completion", "cancelled", "runs"),
        ("failure", "failed", "runs"),
        ("failure", "cancelled", "runs"),
        ("failure", "completed", "cancelled"),
    ],
)
@pytest.mark.parametrize("already", [False, True])
async def test_a_job_waits_for_the_end_that_was_said(
    api, kind, ending, becomes, already
):
    parent = await api.create(priority=1)
    child = await api.create()

    async def end():
        if ending == "cancelled":
            await api.ask("DELETE", f"/jobs/{parent}", expect=204)
            return
        assert await claim(api, limit=1) == [parent]
        await (complete if ending == "completed" else give_up)(api, parent)

    if already:
        await end()
    added = await depend(api, child, parent, dependency_type=kind)
    assert added["added"] == [parent]
    [edge] = (await family(api, child))["dependencies"]
    assert edge["dependency_type"] == kind
    if not already:
        assert added["dependencies_met"] is False
        await end()

    if becomes == "runs":
        assert await claim(api) == [child]
    else:
        await api.until_status(child, "cancelled")
        reason = "not_needed" if kind == "failure" else "parent_failed"
        rows = await api.ask("GET", f"/jobs/{child}/history", expect=200)
        assert rows[-1]["details"]["reason"] == reason


async def test_a_job_may_wait_for_different_ends_of_different_jobs(api):
    done, failed = await api.create(priority=2), await api.create(priority=1)
    child = await api.create()
    await depend(api, child, done)
    await depend(api, child, failed, dependency_type="failure")
    assert await claim(api) == [done, failed]

    await complete(api, done)
    assert await claim(api) == []
    await give_up(api, failed)

    assert await claim(api) == [child]


async def test_any_one_end_will_do(api):
    first, second = await api.create(priority=2), await api.create(priority=1)
    child = await api.create()
    await depend(
        api, child, first, second, dependency_mode="any", dependency_type="failure"
    )
    assert await claim(api) == [first, second]

    await complete(api, first)
    assert (await api.job(child))["status"] == "pending"
    await give_up(api, second)

    assert await claim(api) == [child]


async def test_there_is_no_hope_when_none_can_complete(api):
    first, second = await api.create(), await api.create()
    child = await api.create()
    await depend(api, child, first, second, dependency_mode="any")

    await api.ask("DELETE", f"/jobs/{first}", expect=204)
    assert (await api.job(child))["status"] == "pending"
    await api.ask("DELETE", f"/jobs/{second}", expect=204)

    assert (await api.job(child))["status"] == "cancelled"


@pytest.mark.parametrize(
    "name", ["depends_on", "dependency_job_ids", "depends_on_job_ids"]
)
async def test_every_client_has_its_own_name_for_them(api, name):
    parent, child = await api.create(), await api.create()

    added = await api.ask(
        "POST", f"/jobs/{child}/dependencies", json={name: [parent]}, expect=200
    )

    assert added["added"] == [parent]


async def test_what_a_job_waits_for_and_what_waits_for_it_is_told(api):
    parent, child = await api.create(), await api.create()
    await depend(api, child, parent)

    assert await family(api, child) == {
        "job_id": child,
        "dependencies": [
            {
                "job_id": parent,
                "queue_name": "mail",
                "status": "pending",
                "dependency_type": "success",
            }
        ],
        "dependents": [],
        "dependency_mode": "all",
        "dependencies_met": False,
    }
    assert (await family(api, parent))["dependents"] == [
        {
            "job_id": child,
            "queue_name": "mail",
            "status": "pending",
            "dependency_type": "success",
        }
    ]


async def test_circles_are_left_out(api):
    first, second, third = [await api.create() for _ in range(3)]
    assert (await depend(api, second, first))["added_count"] == 1
    assert (await depend(api, third, second))["added_count"] == 1

    assert (await depend(api, first, first, third))["added"] == []
    # Told twice, it is one edge.
    assert (await depend(api, second, first, first))["added"] == []

    assert await claim(api) == [first]


async def test_two_halves_of_a_circle_never_meet(api):
    jobs = [await api.create() for _ in range(12)]

    added = await asyncio.gather(
        *(depend(api, job, jobs[(n + 1) % len(jobs)]) for n, job in enumerate(jobs))
    )

    assert sum(each["added_count"] for each in added) == len(jobs) - 1
    assert len(await claim(api)) == 1


async def test_a_scheduled_job_may_wait_too(api):
    parent = await api.create()
    child = await api.create(scheduled_at=soon())
    await depend(api, child, parent)
    assert (await api.job(child))["status"] == "pending"
    await claim(api)
    await complete(api, parent)

    await api.until_status(child, "scheduled")


async def test_parents_that_have_completed_hold_nobody_up(api):
    parent = await api.create()
    await claim(api)
    await complete(api, parent)
    child = await api.create()

    added = await depend(api, child, parent)

    assert (added["added_count"], added["dependencies_met"]) == (1, True)
    assert await api.history(child) == ["created"]


async def test_who_has_begun_waits_for_nobody(api):
    parent = await api.create(priority=-1)
    child = await api.create()
    assert await claim(api, limit=1) == [child]

    refused = await depend(api, child, parent, expect=409)
    assert refused["code"] == "CONFLICT"
    await complete(api, child)
    await depend(api, child, parent, expect=409)


async def test_only_jobs_that_one_may_see_can_be_waited_for(api, house, tenant):
    child = await api.create()
    stranger = await new_tenant(house.database_url, slug="stranger")
    async with open_api(house, stranger) as theirs:
        of_a_stranger = await theirs.create()
        await depend(theirs, child, of_a_stranger, expect=404)
        path = f"/jobs/{child}/dependencies"
        await theirs.ask("GET", path, expect=404)

    for parent in (of_a_stranger, str(tenant.id), "no-id"):
        await depend(api, child, parent, expect=404)
    assert await api.history(child) == ["created"]


async def test_what_cannot_be_a_list_of_jobs_is_refused(api):
    child = await api.create()
    path = f"/jobs/{child}/dependencies"
    for parents in ([], [child] * 101):
        body = {"depends_on": parents}
        await api.ask("POST", path, json=body, expect=400)
    for unreadable in ({}, {"depends_on": child}):
        await api.ask("POST", path, json=unreadable, expect=422)
    for name, value in (("dependency_mode", "some"), ("dependency_type", "luck")):
        wrong = {"depends_on": [child], name: value}
        refused = await api.ask("POST", path, json=wrong, expect=400)
        assert refused["details"][0]["field"] == name
