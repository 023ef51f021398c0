"""Workflows: jobs that belong together, in order, and how they end as a whole."""

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from libs.common.store import settlement
from libs.common.store.settlement import Settled
from tests.support.flows import (
    WORKER,
    claim,
    complete,
    create,
    events,
    give_up,
    read,
    states,
    step,
)
from tests.support.waiting import until

DIAMOND = [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")]


async def on_plan(house, api, tier):
    """Put the tenant on another plan, before it is asked for anything."""
    conn = await asyncpg.connect(house.database_url)
    await conn.execute(
        "UPDATE organizations SET plan_tier = $2 WHERE id = $1",
        UUID(str(api.tenant.id)),
        tier,
    )
    await conn.close()


# --- from the first job to the last ---------------------------------------------------


async def test_a_diamond_runs_in_order_and_is_completed_with_its_last_job(api, conn):
    made = await create(api, *DIAMOND, description="four", metadata={"n": [1]})
    assert made["status"] == "pending"
    assert made["id"] == made["workflow_id"]
    ids = {one["key"]: one["job_id"] for one in made["job_ids"]}
    assert list(ids) == ["a", "b", "c", "d"]
    assert (await api.job(ids["a"]))["status"] == "pending"
    assert (await api.job(ids["d"]))["dependencies_met"] is False
    assert (await api.job(ids["d"]))["workflow_id"] == made["id"]

    first = await claim(api)
    assert set(first) == {"a"}
    assert first["a"]["workflow_id"] == made["id"]
    begun = await read(api, made["id"])
    assert begun["status"] == "running"
    assert begun["started_at"] is not None
    assert begun["progress"] == {
        "total": 4,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
        "skipped": 0,
        "pending": 3,
        "processing": 1,
    }

    await complete(api, first["a"])
    middle = await claim(api)
    assert set(middle) == {"b", "c"}
    await complete(api, middle["b"])
    assert await claim(api) == {}
    await complete(api, middle["c"])
    last = await claim(api)
    assert set(last) == {"d"}
    half = await read(api, made["id"])
    assert (half["progress_percent"], half["completed_jobs"]) == (75.0, 3)
    await complete(api, last["d"], {"done": True})

    over = await read(api, made["id"])
    assert (over["status"], over["progress_percent"]) == ("completed", 100.0)
    assert over["completed_at"] is not None
    assert (over["description"], over["metadata"]) == ("four", {"n": [1]})
    assert over["jobs"][3]["result"] == {"done": True}
    assert [job["depends_on"] for job in over["jobs"]] == [[], ["a"], ["a"], ["b", "c"]]
    assert {
        (edge["parent_job_id"], edge["child_job_id"], edge["dependency_type"])
        for edge in over["dependencies"]
    } == {
        (ids[parent], ids[child], "success")
        for parent, child in ("ab", "ac", "bd", "cd")
    }
    assert await events(conn, made["id"]) == ["started", "completed"]


async def test_d7_the_jobs_are_listed_each_by_itself_and_in_short(api):
    made = await create(api, *DIAMOND)
    path = f"/workflows/{made['id']}/jobs"

    jobs = await api.ask("GET", path, expect=200)

    assert [(job["key"], job["queue_name"]) for job in jobs] == [
        (key, "steps") for key in "abcd"
    ]
    one = await api.ask("GET", f"{path}/{jobs[1]['id']}", expect=200)
    assert one == jobs[1]
    assert await api.ask("GET", f"{path}/status", expect=200) == [
        {"key": job["key"], "job_id": job["id"], "status": "pending", "progress": 0.0}
        for job in jobs
    ]
    elsewhere = await api.create()
    await api.ask("GET", f"{path}/{elsewhere}", expect=404)


async def test_they_are_listed_newest_first_and_by_state(api):
    first = await create(api, step("a"))
    second = await create(api, step("a"))
    await api.ask("POST", f"/workflows/{first['id']}/cancel", expect=200)

    async def ids(query=""):
        rows = await api.ask("GET", f"/workflows{query}", expect=200)
        return [row["id"] for row in rows]

    assert await ids() == [second["id"], first["id"]]
    assert await ids("?status=cancelled") == [first["id"]]
    assert await ids("?status=pending&limit=1") == [second["id"]]
    assert await ids("?limit=1&offset=1") == [first["id"]]
    assert await ids("?status=nonsense") == [second["id"], first["id"]]


# --- what goes wrong ------------------------------------------------------------------


async def test_a_job_that_fails_takes_those_along_that_wait_for_it(api, conn):
    made = await create(api, *DIAMOND, step("e", "a"), step("f"))
    await give_up(api, (await claim(api, limit=1))["a"])

    running = await read(api, made["id"])
    assert running["status"] == "running"
    assert states(running) == {
        "a": "deadletter",
        **dict.fromkeys("bcde", "cancelled"),
        "f": "pending",
    }
    await complete(api, (await claim(api))["f"])

    over = await read(api, made["id"])
    assert over["status"] == "failed"
    assert (over["failed_jobs"], over["cancelled_jobs"]) == (1, 4)
    assert over["jobs"][0]["error"]["message"] == "no use"
    assert await events(conn, made["id"]) == ["started", "failed"]


async def test_one_that_fails_fast_cancels_the_rest(api, conn):
    made = await create(
        api,
        step("a"),
        step("b"),
        step("c", "b"),
        step("d"),
        step("handler", "a", dependency_type="failure"),
        policy="fail_fast",
    )
    jobs = await claim(api, limit=2)
    await give_up(api, jobs["a"])

    assert states(await read(api, made["id"])) == {
        "a": "deadletter",
        "b": "processing",
        "c": "cancelled",
        "d": "cancelled",
        "handler": "pending",
    }
    await complete(api, jobs["b"])
    await complete(api, (await claim(api))["handler"])
    assert (await read(api, made["id"]))["status"] == "failed"
    assert await events(conn, made["id"]) == ["started", "failed"]


async def test_what_is_for_a_failure_is_skipped_when_there_is_none(api):
    made = await create(
        api,
        step("a"),
        step("if-not", "a", dependency_type="failure"),
        step("and-then", "if-not"),
        step("anyhow", "a", "if-not", dependency_type="completion"),
    )
    await complete(api, (await claim(api))["a"])

    assert states(await read(api, made["id"])) == {
        "a": "completed",
        "if-not": "cancelled",
        "and-then": "cancelled",
        "anyhow": "pending",
    }
    await complete(api, (await claim(api))["anyhow"])
    over = await read(api, made["id"])
    assert (over["status"], over["skipped_jobs"]) == ("completed", 2)
    assert over["progress_percent"] == 100.0


async def test_what_is_for_a_failure_runs_when_there_is_one(api):
    await create(
        api,
        step("a"),
        step("b", "a"),
        step("if-not", "b", dependency_type="failure"),
        step("anyhow", "a", "b", dependency_type="completion"),
        step("mixed", "a", "if-not", dependency_types={"a": "failure"}),
    )
    await give_up(api, (await claim(api))["a"])

    jobs = await claim(api)
    assert set(jobs) == {"if-not", "anyhow"}
    await complete(api, jobs["if-not"])
    assert set(await claim(api)) == {"mixed"}


async def test_any_one_of_them_may_be_enough(api):
    made = await create(
        api, step("a"), step("b"), step("c", "a", "b", dependency_mode="any")
    )
    jobs = await claim(api)
    await give_up(api, jobs["a"])
    assert await claim(api) == {}
    await complete(api, jobs["b"])

    assert set(await claim(api)) == {"c"}
    assert (await read(api, made["id"]))["jobs"][2]["dependency_mode"] == "any"


async def test_a_workflow_that_is_cancelled_begins_nothing_more(api, conn):
    made = await create(
        api, *DIAMOND, step("later", scheduled_at="2100-01-01T00:00:00Z"), step("f")
    )
    jobs = await claim(api, limit=1)

    path = f"/workflows/{made['id']}/cancel"
    stopped = await api.ask("POST", path, expect=200)

    assert stopped["status"] == "cancelled"
    detail = await read(api, made["id"])
    assert states(detail) == {
        "a": "processing",
        **dict.fromkeys(["b", "c", "d", "later", "f"], "cancelled"),
    }
    await complete(api, jobs["a"])
    assert await claim(api) == {}
    assert (await read(api, made["id"]))["status"] == "cancelled"
    again = await api.ask("POST", path, expect=200)
    assert (again["status"], again["completed_jobs"]) == ("cancelled", 1)
    assert await events(conn, made["id"]) == ["started", "cancelled"]


async def test_one_whose_jobs_are_cancelled_one_by_one_is_cancelled(api):
    made = await create(api, step("a"), step("b", "a"))

    await api.ask("DELETE", f"/jobs/{made['job_ids'][0]['job_id']}", expect=204)

    assert (await read(api, made["id"]))["status"] == "cancelled"


async def test_one_whose_dead_letter_is_retried_runs_on(api, conn):
    made = await create(api, step("a"))
    await give_up(api, (await claim(api))["a"])
    assert (await read(api, made["id"]))["status"] == "failed"

    await api.ask("POST", f"/jobs/{made['job_ids'][0]['job_id']}/retry", expect=200)

    assert (await read(api, made["id"]))["status"] == "running"
    await complete(api, (await claim(api))["a"])
    over = await read(api, made["id"])
    assert (over["status"], over["failed_jobs"]) == ("completed", 0)
    assert await events(conn, made["id"]) == [
        "started",
        "failed",
        "retried",
        "completed",
    ]


async def test_the_scheduler_ends_what_nobody_else_could(api, conn):
    made = await create(api, step("a"))
    job = (await claim(api))["a"]
    # As if whoever settled had died right after the commit.
    ended = Settled(
        job_id=UUID(job["id"]),
        lease_id=UUID(job["lease_id"]),
        how="completed",
        owner=WORKER,
        organization_id=UUID(str(api.tenant.id)),
    )
    assert await settlement.settle(conn, attempts=[ended], actor="")

    async def is_over():
        return (await read(api, made["id"]))["status"] == "completed"

    await until(is_over)


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "field", "words"),
    [
        ([step("a"), step("a")], "jobs.0.key", "Duplicate"),
        ([step("a", "b")], "jobs.0.depends_on", "Unknown"),
        ([step("a", "a")], "jobs.0.depends_on", "itself"),
        (
            [step("o"), step("a", "c"), step("b", "a"), step("c", "b")],
            "jobs.1.depends_on",
            "cycle",
        ),
        ([step("a b")], "jobs.0.key", ""),
        ([step("a", queue_name="-")], "jobs.0.queue_name", ""),
        ([step("a", priority=101)], "jobs.0.priority", ""),
        ([step("a", target={"endpoint_id": "x"})], "jobs.0.target.endpoint_id", ""),
        ([step("a", target={"url": "nowhere"})], "jobs.0.target.url", ""),
        ([], "jobs", ""),
        ([step(f"a{n}") for n in range(101)], "jobs", ""),
    ],
)
async def test_a_graph_that_is_wrong_is_refused_as_a_whole(
    api, conn, steps, field, words
):
    refused = await create(api, *steps, expect=400)

    assert refused["code"] == "VALIDATION_ERROR"
    assert refused["details"][0]["field"] == field
    assert words in refused["details"][0]["message"]
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0
    assert await conn.fetchval("SELECT count(*) FROM workflows") == 0


async def test_fields_that_clients_send_besides_are_tolerated(api):
    extra = {"job_type": "x", "timeout_ms": 5, "backoff_type": "y"}

    made = await create(api, step("a", **extra), step("b", "a", dependency_mode=None))

    assert len(made["job_ids"]) == 2


async def test_a_plan_without_workflows_says_so(api, house):
    await on_plan(house, api, "free")

    refused = await create(api, step("a"), expect=403)

    assert refused["code"] == "FEATURE_DISABLED"


async def test_a_plan_counts_those_that_are_not_over(api, house):
    await on_plan(house, api, "starter")
    made = [await create(api, step("a")) for _ in range(5)]

    refused = await create(api, step("a"), expect=429)

    assert (refused["resource"], refused["current"]) == ("workflows", 5)
    usage = await api.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["workflows"]["current"] == 5
    assert usage["usage"]["jobs_today"]["current"] == 5
    await api.ask("POST", f"/workflows/{made[0]['id']}/cancel", expect=200)
    await create(api, step("a"))


async def test_a_key_sees_workflows_whose_queues_are_all_its_own(api):
    made = await create(api, step("a"), step("b", queue_name="others"))
    own = await create(api, step("a"))
    body = {"name": "scoped", "queues": ["steps"]}
    key = await api.ask("POST", "/api-keys", json=body, expect=201)
    scoped = replace(api, tenant=replace(api.tenant, api_key=key["key"]))

    rows = await scoped.ask("GET", "/workflows", expect=200)

    assert [row["id"] for row in rows] == [own["id"]]
    await scoped.ask("GET", f"/workflows/{made['id']}", expect=404)
    await scoped.ask("POST", f"/workflows/{made['id']}/cancel", expect=404)
    await create(scoped, step("a", queue_name="others"), expect=403)


# --- many at once ---------------------------------------------------------------------


async def test_each_event_happens_once_however_many_end_at_once(api, conn):
    made = [await create(api, *(step(f"s{n}") for n in range(10))) for _ in range(5)]
    asked = {"queue_name": "steps", "worker_id": WORKER, "limit": 50}
    jobs = (await api.ask("POST", "/jobs/claim", json=asked, expect=200))["jobs"]
    assert len(jobs) == 50

    await asyncio.gather(*(complete(api, job) for job in jobs))

    for one in made:
        assert (await read(api, one["id"]))["status"] == "completed"
        assert await events(conn, one["id"]) == ["started", "completed"]
