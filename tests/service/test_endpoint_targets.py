"""Jobs of any queue that go to an endpoint."""

import asyncio

import pytest

from tests.support.endpoints import create_endpoint
from tests.support.house import new_tenant, open_api
from tests.support.tenants import scoped
from tests.support.waiting import until

RETRY = {"strategy": "schedule", "schedule_seconds": [0.1, 0.1], "jitter": 0}


async def test_a_job_goes_to_the_endpoint_it_names(api, endpoint):
    made = await create_endpoint(
        api, url=endpoint.url, headers={"X-Team": "ledger"}, event_types=["never"]
    )

    job = await api.create({"endpoint_id": made["id"]}, payload={"n": 1})

    [got] = await endpoint.received(1)
    got.verify(made["secret"])
    assert got.headers["X-Team"] == "ledger"
    assert got.id == job
    done = await api.until_status(job, "completed")
    assert done["target"] == {"endpoint_id": made["id"]}
    assert (done["message_id"], done["webhook_id"]) == (None, job)
    assert done["queue_name"] == "mail"

    async def listed():
        rows = await api.ask("GET", f"/endpoints/{made['id']}/attempts", expect=200)
        return [(one["job_id"], one["message_id"], one["webhook_id"]) for one in rows]

    assert await until(listed) == [(job, None, job)]


async def test_an_endpoint_says_how_often_it_is_tried(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url, retry=RETRY)
    endpoint.otherwise = 500

    job = await api.create({"endpoint_id": made["id"]})
    other = await api.create({"endpoint_id": made["id"]}, max_retries=0)

    dead = await api.until_status(job, "deadletter")
    assert (dead["max_retries"], dead["attempt"]) == (2, 3)
    dead = await api.until_status(other, "deadletter")
    assert (dead["max_retries"], dead["attempt"]) == (0, 1)


async def test_many_jobs_at_once_may_go_to_endpoints(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url)
    bulk = {
        "queue_name": "mail",
        "target": {"endpoint_id": made["id"]},
        "jobs": [
            {"payload": 1},
            {"payload": 2, "target": {"url": endpoint.url_of("/other")}},
            {"payload": 3, "target": {"endpoint_id": made["id"]}},
            {"payload": 4, "target": {"endpoint_id": str(api.tenant.id)}},
        ],
    }

    done = await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)

    assert done["success_count"] == 3
    [failed] = done["failed"]
    assert failed["index"] == 3
    assert failed["details"][0]["code"] == "unknown_endpoint"
    await endpoint.received(3)
    assert sorted(got.path for got in endpoint.requests) == [
        "/other",
        "/webhook",
        "/webhook",
    ]


@pytest.mark.parametrize(
    ("target", "status", "field"),
    [
        ({"endpoint_id": "x"}, 400, "target.endpoint_id"),
        ({"endpoint_id": 5}, 422, "target.endpoint_id"),
        ({"endpoint_id": None}, 422, "target.endpoint_id"),
        (
            {"endpoint_id": "01890a5d-ac96-774b-bcce-b302099a8057"},
            400,
            "target.endpoint_id",
        ),
        ({"endpoint_id": "x", "url": "https://example.com/"}, 400, "target"),
        ({"endpoint_id": "x", "method": "PUT"}, 400, "target.method"),
        ({"endpoint_id": "x", "headers": {}}, 400, "target.headers"),
    ],
)
async def test_a_target_that_is_none_is_named(api, target, status, field):
    body = {"queue_name": "mail", "payload": 1, "target": target}

    error = await api.ask("POST", "/jobs", json=body, expect=status)

    assert [fault["field"] for fault in error["details"]] == [field]


async def test_nobody_sends_to_another_ones_endpoint_or_to_one_that_is_gone(
    api, house, database_url
):
    made, gone = await create_endpoint(api), await create_endpoint(api)
    await api.ask("DELETE", f"/endpoints/{gone['id']}", expect=204)
    tenant = await new_tenant(database_url, slug="stranger")
    async with open_api(house, tenant) as other:
        for client, id_ in ((other, made["id"]), (api, gone["id"])):
            body = {"queue_name": "q", "payload": 1, "target": {"endpoint_id": id_}}
            error = await client.ask("POST", "/jobs", json=body, expect=400)
            assert error["details"][0]["code"] == "unknown_endpoint"


async def test_an_endpoint_is_known_as_soon_as_it_is_there(api):
    async def both():
        made = await create_endpoint(api)
        await api.create({"endpoint_id": made["id"]})

    await asyncio.gather(*(both() for _ in range(10)))


async def test_a_key_repeats_the_job_of_the_same_endpoint_only(api):
    one, other = await create_endpoint(api), await create_endpoint(api)
    key = {"Idempotency-Key": "k"}
    body = {"queue_name": "q", "payload": 1, "target": {"endpoint_id": one["id"]}}
    made = await api.ask("POST", "/jobs", json=body, headers=key, expect=201)

    again = await api.ask("POST", "/jobs", json=body, headers=key, expect=200)
    body["target"] = {"endpoint_id": other["id"]}
    await api.ask("POST", "/jobs", json=body, headers=key, expect=422)

    assert again["id"] == made["id"]


async def test_a_key_for_a_queue_may_send_its_jobs_to_an_endpoint(api):
    made = await create_endpoint(api)
    some = await scoped(api, "mail")

    job = await some.create({"endpoint_id": made["id"]})

    assert (await some.job(job))["target"] == {"endpoint_id": made["id"]}
