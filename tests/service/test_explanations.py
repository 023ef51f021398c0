"""Why is this job not running?  Each reason, in a word and in a sentence."""

import pytest

from tests.support.flows import claim, complete, create, give_up, step


async def why(api, job_id):
    said = await api.ask("GET", f"/jobs/{job_id}/explain", expect=200)
    assert said["job_id"] == job_id
    assert said["message"]
    return said


async def test_from_the_wait_to_the_end(api):
    made = await create(api, step("a"), step("b"), step("c", "a", "b"))
    ids = {one["key"]: one["job_id"] for one in made["job_ids"]}

    first = await why(api, ids["a"])
    assert (first["place"], first["reason"]) == ("ready", "waits_for_worker")
    behind = await why(api, ids["b"])
    assert (behind["reason"], behind["before"]) == ("waits_for_others", 1)
    waiting = await why(api, ids["c"])
    assert (waiting["place"], waiting["reason"]) == ("waiting", "waits_for_parents")
    assert waiting["message"] == "It waits for a, b"
    assert [(one["key"], one["status"]) for one in waiting["parents"]] == [
        ("a", "pending"),
        ("b", "pending"),
    ]
    jobs = await claim(api)
    working = await why(api, ids["a"])
    assert (working["place"], working["reason"]) == ("leased", "running")
    assert working["until"] is not None
    await complete(api, jobs["a"])
    assert (await why(api, ids["a"]))["reason"] == "completed"
    await give_up(api, jobs["b"])
    dead = await why(api, ids["b"])
    assert (dead["reason"], "no use" in dead["message"]) == ("dead", True)
    gone = await why(api, ids["c"])
    assert gone["reason"] == "cancelled"
    assert "did not complete" in gone["message"]


async def test_what_waits_for_the_clock(api):
    job = await api.create(scheduled_at="2100-01-01T00:00:00Z")

    said = await why(api, job)

    assert (said["reason"], said["place"]) == ("scheduled", "scheduled")
    assert said["until"].startswith("2100-01-01")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"settings": {"concurrency": 1}}, "queue_concurrency"),
        ({"enabled": False}, "queue_paused"),
    ],
)
async def test_what_its_queue_keeps_back(api, settings, reason):
    first = await api.create(queue_name="steps", payload={"step": "a"})
    job = await api.create(queue_name="steps")
    await claim(api, limit=1)

    await api.ask("PUT", "/queues/steps/config", json=settings, expect=200)

    assert (await why(api, job))["reason"] == reason
    assert (await why(api, first))["reason"] == "running"


async def test_what_its_endpoint_keeps_back(api):
    body = {"url": "http://localhost:9/", "enabled": False}
    endpoint = await api.ask("POST", "/endpoints", json=body, expect=201)
    target = {"endpoint_id": endpoint["id"]}
    made = await create(api, step("a", target=target))

    said = await why(api, made["job_ids"][0]["job_id"])

    assert said["reason"] == "endpoint_disabled"


async def test_nobody_explains_what_is_not_theirs(api):
    await api.ask(
        "GET", "/jobs/0191d0a0-0000-7000-8000-000000000001/explain", expect=404
    )
