"""What one job of a workflow hands to the next, and jobs that are added on the way."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.endpoint import Answer
from tests.support.flows import (
    WORKER,
    claim,
    complete,
    create,
    give_up,
    read,
    states,
    step,
)


def add(api, workflow, job, *steps, expect=200, worker=WORKER, **fields):
    body = {"worker_id": worker, "lease_id": job["lease_id"], "jobs": list(steps)}
    path = f"/workflows/{workflow['id']}/jobs"
    return api.ask("POST", path, json={**body, **fields}, expect=expect)


# --- results --------------------------------------------------------------------------


async def hand_over(api, result, **payload):
    """Complete a job with *result*; return the payload of one that refers to it."""
    await create(api, step("a"), step("b", "a", payload={"step": "b", **payload}))
    await complete(api, (await claim(api))["a"], result)
    (job,) = (await claim(api)).values()
    await complete(api, job)
    return {name: job["payload"][name] for name in payload}


async def test_a_child_takes_what_its_parent_gave(api):
    result = {"x": {"deep": [1, {"n": 2.5}]}, "name": 'Ada "the" \\ é', "no": None}

    given = await hand_over(
        api,
        result,
        whole="{{parents.a.result}}",
        deep="{{ parents.a.result.x.deep.1.n }}",
        name="{{parents.a.result.name}}",
        text="Dear {{parents.a.result.name}}, {{parents.a.result.x.deep}}!",
        null="{{parents.a.result.no}}",
        none="{{parents.a.result.nothing.at.all}}",
        empty="<{{parents.a.result.nothing}}>",
        quoted='say \\"{{parents.a.result.x.deep.0}}\\"',
        other="{{schedule.tick}} {{ x }}",
        nested=[{"{{parents.a.result.name}}": ["{{parents.a.result.x.deep.0}}"]}],
    )

    assert given == {
        "whole": result,
        "deep": 2.5,
        "name": result["name"],
        "text": f"Dear {result['name']}, " + '[1, {"n": 2.5}]!',
        "null": None,
        "none": None,
        "empty": "<>",
        "quoted": 'say \\"1\\"',
        "other": "{{schedule.tick}} {{ x }}",
        "nested": [{result["name"]: [1]}],
    }


async def test_what_comes_in_is_not_looked_at_again(api):
    text = "{{parents.a.result}}"

    assert await hand_over(api, text, x="{{parents.a.result}}") == {"x": text}


async def test_what_is_too_large_is_only_named(api):
    given = await hand_over(
        api, {"big": "x" * 70_000, "small": 1}, x="{{parents.a.result.big}}"
    )

    assert given["x"]["too_large"] is True
    assert given["x"]["bytes"] == 70_002


async def test_a_parent_that_gave_nothing_is_null(api):
    await create(
        api,
        step("a"),
        step(
            "b",
            "a",
            payload={"step": "b", "x": "{{parents.a.result.x}}"},
            dependency_type="failure",
        ),
    )
    await give_up(api, (await claim(api))["a"])

    assert (await claim(api))["b"]["payload"]["x"] is None


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("{{parents.b.result}}", "b"),
        (["{{parents.a.result}}"] * 33, "32"),
    ],
)
async def test_references_that_lead_nowhere_are_refused(api, payload, words):
    refused = await create(
        api, step("a"), step("b"), step("c", "a", payload=payload), expect=400
    )

    assert refused["details"][0]["field"] == "jobs.2.payload"
    assert words in refused["details"][0]["message"]


async def test_a_webhook_is_a_step_and_its_answer_a_result(api, endpoint):
    endpoint.otherwise = Answer(body=b'{"invoice": 7}')
    target = {"url": endpoint.url, "timeout_seconds": 5}
    made = await create(
        api,
        step("a", payload={"n": 1}, target=target),
        step("b", "a", payload={"got": "{{parents.a.result.body}}"}, target=target),
        step(
            "c",
            "a",
            "b",
            payload={
                "step": "c",
                "status": "{{parents.a.result.status}}",
                "invoice": "{{parents.b.result.body.invoice}}",
            },
        ),
    )
    jobs: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while not jobs:
            jobs = await claim(api)

    assert jobs["c"]["payload"] == {"step": "c", "status": 200, "invoice": 7}
    assert [json.loads(got.body) for got in endpoint.requests] == [
        {"n": 1},
        {"got": {"invoice": 7}},
    ]
    await complete(api, jobs["c"])
    over = await read(api, made["id"])
    assert over["status"] == "completed"
    assert over["jobs"][0]["result"] == {"status": 200, "body": {"invoice": 7}}
    shown = await api.job(over["jobs"][0]["id"])
    assert shown["result"] == over["jobs"][0]["result"]


# --- jobs that are added --------------------------------------------------------------


async def test_who_works_on_a_job_may_add_more_once(api):
    made = await create(api, step("a"), step("z", "a"))
    job = (await claim(api))["a"]
    more = [step("m1", "a"), step("m2"), step("m3", "m1", "m2")]

    first = await add(api, made, job, *more)
    again = await add(api, made, job, *more, step("m4", "m3"))

    assert first["created_count"] == 3
    assert [one["created"] for one in again["job_ids"]] == [False] * 3 + [True]
    assert again["job_ids"][0]["job_id"] == first["job_ids"][0]["job_id"]
    detail = await read(api, made["id"])
    assert (detail["status"], detail["total_jobs"]) == ("running", 6)
    assert set(await claim(api)) == {"m2"}
    await complete(api, job, {"n": 1})
    assert set(await claim(api)) == {"m1", "z"}


async def test_a_thousand_children_are_added_and_let_go_at_once(api):
    made = await create(api, step("a"), step("z", "a"))
    job = (await claim(api))["a"]

    for n in range(10):
        await add(api, made, job, *(step(f"c{n}-{m}", "a") for m in range(100)))
    await complete(api, job)

    found: dict[str, Any] = {}
    for _ in range(11):
        found |= await claim(api)
    assert len(found) == 1001


@pytest.mark.parametrize(
    "asked",
    [{"worker": "another"}, {"lease_id": "0191d0a0-0000-7000-8000-000000000001"}],
)
async def test_nobody_else_adds_jobs(api, asked):
    made = await create(api, step("a"))
    job = (await claim(api))["a"]

    refused = await add(api, made, job, step("b"), expect=409, **asked)

    assert refused["code"] == "LEASE_EXPIRED"
    assert states(await read(api, made["id"])) == {"a": "processing"}


async def test_who_works_elsewhere_adds_nothing_here(api):
    made = await create(api, step("a", queue_name="others"))
    await create(api, step("b"))
    job = (await claim(api))["b"]

    await add(api, made, job, step("c"), expect=409)

    assert states(await read(api, made["id"])) == {"a": "pending"}


# --- once more ------------------------------------------------------------------------


async def test_what_failed_is_tried_again_and_what_completed_is_not(api, conn):
    made = await create(
        api,
        step("a"),
        step("b", "a"),
        step("c", "b"),
        step("if-not", "b", dependency_type="failure"),
        step("other"),
    )
    path = f"/workflows/{made['id']}/retry"
    refused = await api.ask("POST", path, expect=400)
    assert "Cannot retry workflow with status 'pending'" in refused["message"]
    jobs = await claim(api)
    await complete(api, jobs["a"], 1)
    await complete(api, jobs["other"])
    await give_up(api, (await claim(api))["b"])
    await complete(api, (await claim(api))["if-not"])
    assert (await read(api, made["id"]))["status"] == "failed"

    again = await api.ask("POST", path, expect=200)

    assert (again["status"], again["completed_at"]) == ("running", None)
    assert states(await read(api, made["id"])) == {
        "a": "completed",
        "b": "pending",
        "c": "pending",
        "if-not": "completed",
        "other": "completed",
    }
    job = (await claim(api))["b"]
    assert (job["attempt"], job["retry_count"]) == (2, 0)
    await complete(api, job)
    await complete(api, (await claim(api))["c"])
    over = await read(api, made["id"])
    assert (over["status"], over["progress_percent"]) == ("completed", 100.0)
    assert await api.history(job["id"]) == [
        "created",
        "unblocked",
        "started",
        "deadlettered",
        "requeued",
        "unblocked",
        "started",
        "completed",
    ]
    refused = await api.ask("POST", path, expect=400)
    assert "'completed'" in refused["message"]


async def test_it_may_fail_again_and_be_tried_again(api):
    made = await create(api, step("a"), step("b", "a"), policy="fail_fast")
    for round_ in range(3):
        job = (await claim(api))["a"]
        assert job["attempt"] == round_ + 1
        await give_up(api, job)
        assert (await read(api, made["id"]))["status"] == "failed"
        path = f"/workflows/{made['id']}/retry"
        await api.ask("POST", path, expect=200)
    await complete(api, (await claim(api))["a"])
    await complete(api, (await claim(api))["b"])
    assert (await read(api, made["id"]))["status"] == "completed"
