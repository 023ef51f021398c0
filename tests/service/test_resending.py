"""A webhook that is over, sent once more: another job, the same webhook."""

import asyncio

import asyncpg
import pytest

from tests.support.endpoint import Answer
from tests.support.endpoints import create_endpoint, send
from tests.support.house import new_tenant, open_api
from tests.support.tenants import scoped, stranger


async def resend(api, job_id, *, expect=201):
    return await api.ask("POST", f"/jobs/{job_id}/resend", expect=expect)


async def lane_of(conn, job_id):
    """Return whether a job stands in a lane for retries."""
    return await conn.fetchval(
        "SELECT retries FROM places JOIN lanes ON lanes.id = lane_id WHERE job_id = $1",
        job_id,
    )


async def test_what_is_sent_again_is_the_same_to_its_receiver(api, endpoint, conn):
    target = {
        "url": endpoint.url_of("/hook"),
        "method": "PUT",
        "headers": {"X-Team": "ledger"},
        "timeout_seconds": 3,
    }
    job = await api.create(
        target, payload={"job_type": "t", "n": 1}, tags=["x"], priority=7
    )
    await api.until_status(job, "completed")

    made = await resend(api, job)

    assert made == {"id": made["id"], "created": True, "webhook_id": job}
    first, second = await endpoint.received(2)
    assert (first.body, first.method, first.path) == (
        second.body,
        second.method,
        second.path,
    )
    assert first.id == second.id == job
    assert second.headers["X-Team"] == "ledger"
    again = await api.until_status(made["id"], "completed")
    before = await api.job(job)
    for name in ("payload", "tags", "priority", "job_type", "target", "max_retries"):
        assert again[name] == before[name], name
    assert again["webhook_id"] == before["webhook_id"] == job
    assert await lane_of(conn, made["id"]) is True

    # And once more, of the one that was sent again.
    third = await resend(api, made["id"])
    assert third["webhook_id"] == job
    assert [got.id for got in await endpoint.received(3)] == [job] * 3


async def test_a_delivery_is_sent_again_as_its_endpoint_is_now(api, endpoint):
    endpoint.otherwise = 500
    made = await create_endpoint(
        api, url=endpoint.url_of("/old"), max_retries=0, format="envelope"
    )
    sent = await send(api, "invoice.paid", {"n": 1})
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    job = shown["deliveries"][0]["job_id"]
    await api.until_status(job, "deadletter")
    endpoint.otherwise = Answer(200)
    url = {"url": endpoint.url_of("/new")}
    await api.ask("PATCH", f"/endpoints/{made['id']}", json=url, expect=200)

    again = await resend(api, job)

    assert again["webhook_id"] == sent["id"]
    await api.until_status(again["id"], "completed")
    first, second = endpoint.requests
    assert (first.path, second.path) == ("/old", "/new")
    assert first.body == second.body
    assert first.id == second.id == sent["id"]
    second.verify(made["secret"])
    # The first stays what it became.
    assert (await api.job(job))["status"] == "deadletter"
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    assert [one["status"] for one in shown["deliveries"]] == ["deadletter", "completed"]
    assert shown["delivery_count"] == 1


async def test_what_is_not_over_or_has_nowhere_to_go_is_not_sent_again(api):
    later = {"scheduled_at": "2099-01-01T00:00:00Z"}
    made = await create_endpoint(api)
    pending = await api.create("http://127.0.0.1:9/", **later)
    to_worker = await api.create(**later)
    to_none = await api.create({"endpoint_id": made["id"]}, **later)
    await api.ask("DELETE", f"/jobs/{to_worker}", expect=204)
    await api.ask("DELETE", f"/jobs/{to_none}", expect=204)
    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)

    for job, words in (
        (pending, "scheduled"),
        (to_worker, "workers"),
        (to_none, "no more"),
    ):
        refused = await resend(api, job, expect=409)
        assert words in refused["message"]
    await resend(api, "01890a5d-ac96-774b-bcce-b302099a8057", expect=404)


async def test_nobody_sends_what_is_another_ones(api, house, database_url):
    job = await api.create("http://127.0.0.1:9/", scheduled_at="2099-01-01T00:00:00Z")
    await api.ask("DELETE", f"/jobs/{job}", expect=204)
    tenant = await new_tenant(database_url, slug="stranger")
    async with open_api(house, tenant) as other:
        await resend(other, job, expect=404)
    await resend(await scoped(api, "elsewhere"), job, expect=404)
    await resend(await scoped(api, "mail"), job)


async def test_what_is_sent_again_counts(api, database_url):
    other = await stranger(api, database_url, max_active_jobs=1, max_jobs_per_day=2)
    later = {"scheduled_at": "2099-01-01T00:00:00Z"}
    job = await other.create("http://127.0.0.1:9/", **later)
    await other.ask("DELETE", f"/jobs/{job}", expect=204)

    asked = await asyncio.gather(
        *(other.ask("POST", f"/jobs/{job}/resend") for _ in range(4))
    )

    assert sorted(status for status, _, _ in asked) == [201, 429, 429, 429]
    usage = await other.ask("GET", "/organizations/usage", expect=200)
    assert usage["usage"]["jobs_today"]["current"] == 2


async def test_an_ordered_endpoint_gets_what_is_sent_again_in_its_turn(api, endpoint):
    await create_endpoint(api, url=endpoint.url, ordered=True)
    sent = await send(api, "a", {"n": 1})
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    job = shown["deliveries"][0]["job_id"]
    await api.until_status(job, "completed")

    again = await resend(api, job)

    await api.until_status(again["id"], "completed")
    assert await api.history(again["id"]) == [
        "created",
        "unblocked",
        "started",
        "completed",
    ]


@pytest.fixture
async def conn(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
