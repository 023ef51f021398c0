"""One key, one job, whoever asks and however often at once."""

import asyncio

import asyncpg

from libs.cli.embedded.ports import free_port
from tests.support.house import House, new_tenant, open_api
from tests.support.house import answers as is_ready
from tests.support.waiting import until


def ask(api, key, *, header=False, **fields):
    body = {"queue_name": "mail", "payload": {"n": 1}, **fields}
    headers = {"Idempotency-Key": key} if header else {}
    if not header:
        body["idempotency_key"] = key
    return api.ask("POST", "/jobs", json=body, headers=headers)


async def test_the_same_request_gets_the_same_job_and_200(api):
    status, first, _ = await ask(api, "k")
    again, second, _ = await ask(api, "k")

    assert (status, again) == (201, 200)
    assert (first["created"], second["created"]) == (True, False)
    assert first["id"] == second["id"]


async def test_under_the_header_another_payload_is_refused(api):
    _, first, _ = await ask(api, '"order-7"', header=True)
    same, second, _ = await ask(api, "order-7", header=True)
    other, body, _ = await ask(api, '"order-7"', header=True, payload={"n": 2})

    assert (same, second["id"]) == (200, first["id"])
    assert (other, body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert "Idempotency-Key" in body["message"]


async def test_under_the_body_field_the_contract_holds(api):
    _, first, _ = await ask(api, "k")
    status, second, _ = await ask(api, "k", payload={"n": 2}, queue_name="other")

    assert (status, second) == (200, {"id": first["id"], "created": False})


async def test_header_and_field_must_agree(api):
    status, body, _ = await api.ask(
        "POST",
        "/jobs",
        json={"queue_name": "q", "payload": 1, "idempotency_key": "a"},
        headers={"Idempotency-Key": "b"},
    )

    assert (status, body["details"][0]["field"]) == (400, "idempotency_key")


async def test_fifty_at_once_make_one_job(api, endpoint, database_url):
    answers = await asyncio.gather(
        *(ask(api, "storm", target={"url": endpoint.url}) for _ in range(50))
    )

    assert sorted(status for status, _, _ in answers) == [200] * 49 + [201]
    (job_id,) = {body["id"] for _, body, _ in answers}
    await api.until_status(job_id, "completed")
    assert len(endpoint.requests) == 1
    conn = await asyncpg.connect(database_url)
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 1
    await conn.close()


async def test_fifty_at_once_over_two_replicas_make_one_job(api, house):
    second = House(
        f"http://127.0.0.1:{free_port()}", house.database_url, house.nats_url
    )
    await second.start("ingest")
    await until(lambda: is_ready(second.base_url))
    async with open_api(second, api.tenant) as other:
        answers = await asyncio.gather(
            *(ask((api, other)[n % 2], "storm") for n in range(50))
        )
    await second.stop("ingest")

    assert sorted(status for status, _, _ in answers) == [200] * 49 + [201]
    assert len({body["id"] for _, body, _ in answers}) == 1


async def test_another_organizations_key_is_another_key(api, house, database_url):
    stranger = await new_tenant(database_url, slug="stranger")
    _, ours, _ = await ask(api, "k")
    async with open_api(house, stranger) as other:
        status, theirs, _ = await ask(other, "k")
        assert (await other.ask("GET", f"/jobs/{ours['id']}"))[0] == 404

    assert status == 201
    assert theirs["id"] != ours["id"]


async def test_a_bulk_collapses_duplicates_onto_the_first(api):
    done = await api.ask(
        "POST",
        "/jobs/bulk",
        json={
            "queue_name": "mail",
            "jobs": [
                {"payload": 1, "idempotency_key": "a"},
                {"payload": 2},
                {"payload": 3, "idempotency_key": "a"},
                {"payload": 4, "priority": 101},
                {"idempotency_key": "b"},
            ],
        },
        expect=200,
    )

    assert [(s["index"], s["created"]) for s in done["succeeded"]] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    assert done["succeeded"][0]["job_id"] == done["succeeded"][2]["job_id"]
    assert [f["index"] for f in done["failed"]] == [3, 4]
    assert "priority" in done["failed"][0]["error"]
    assert "payload" in done["failed"][1]["error"]
    assert (done["total"], done["success_count"], done["failure_count"]) == (5, 3, 2)
