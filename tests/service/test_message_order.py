"""Messages in order: by endpoint, or by a key."""

import asyncio
import json

from tests.support.endpoints import create_endpoint, send
from tests.support.waiting import until

RETRY = {"strategy": "schedule", "schedule_seconds": [0.2], "jitter": 0}


def numbers(endpoint):
    return [json.loads(got.body)["n"] for got in endpoint.requests]


async def test_an_ordered_endpoint_gets_one_after_the_other(api, endpoint):
    most = []

    async def think(_):
        most.append(endpoint.under_way)
        await asyncio.sleep(0.01)
        return 200

    endpoint.otherwise = think
    await create_endpoint(api, url=endpoint.url, ordered=True)

    for n in range(25):
        await send(api, "a", {"n": n})
    await endpoint.received(25, at_most=30)

    assert numbers(endpoint) == list(range(25))
    assert max(most) == 1


async def test_a_delivery_that_fails_holds_up_those_behind_it(api, endpoint):
    endpoint.answers = [200, 500, 500]
    made = await create_endpoint(
        api, url=endpoint.url, ordered=True, retry=RETRY, max_retries=5
    )

    sent = [await send(api, "a", {"n": n}) for n in range(4)]
    await endpoint.received(6, at_most=30)

    assert numbers(endpoint) == [0, 1, 1, 1, 2, 3]
    assert [got.id for got in endpoint.requests[1:4]] == [sent[1]["id"]] * 3
    # A job that names the endpoint stands in the same line.
    await api.create({"endpoint_id": made["id"]}, payload={"n": 4})
    await endpoint.received(7)
    assert numbers(endpoint)[-1] == 4
    body: dict[str, object] = {"queue_name": "q", "payload": 1, "concurrency_key": "k"}
    body["target"] = {"endpoint_id": made["id"]}
    error = await api.ask("POST", "/jobs", json=body, expect=400)
    assert error["details"][0]["field"] == "concurrency_key"


async def test_messages_of_one_key_are_in_order_and_others_pass(api, endpoint):
    """The first of key a fails until all of b are there: they do not wait for it."""
    await create_endpoint(api, url=endpoint.url, retry=RETRY, max_retries=100)
    wanted = {"b0", "b1", "b2", "b3"}

    def answer(got):
        number = json.loads(got.body)["n"]
        wanted.discard(number)
        return 500 if number == "a0" and wanted else 200

    endpoint.otherwise = answer
    for n in range(4):
        await send(api, "x", {"n": f"a{n}"}, ordering_key="a")
        await send(api, "x", {"n": f"b{n}"}, ordering_key="b")
    await until(lambda: "a3" in numbers(endpoint), at_most=30)

    first, *later = [n for n in numbers(endpoint) if n[0] == "a" or n == "b3"]
    assert first == "a0"
    assert [n for n in later if n != "a0"] == ["b3", "a1", "a2", "a3"]
    assert [n for n in numbers(endpoint) if n[0] == "b"] == ["b0", "b1", "b2", "b3"]


async def test_a_delivery_that_is_given_up_lets_the_next_one_go(api, endpoint):
    await create_endpoint(api, url=endpoint.url, ordered=True, max_retries=0)
    endpoint.answers = [500, 200]

    first = await send(api, "a", {"n": 0})
    await send(api, "a", {"n": 1})
    await endpoint.received(2)

    assert numbers(endpoint) == [0, 1]
    shown = await api.ask("GET", f"/messages/{first['id']}", expect=200)
    assert shown["deliveries"][0]["status"] == "deadletter"


async def test_jobs_of_one_key_are_in_order_among_themselves_and_with_messages(
    api, endpoint
):
    made = await create_endpoint(api, url=endpoint.url, retry=RETRY, max_retries=5)
    target = {"endpoint_id": made["id"]}
    endpoint.answers = [500]

    first = await api.create(target, payload={"n": 0}, ordering_key="a")
    await send(api, "x", {"n": 1}, ordering_key="a")
    await api.create(target, payload={"n": 2}, ordering_key="b")
    bulk = {
        "queue_name": "other",
        "target": target,
        "jobs": [{"payload": {"n": n}, "ordering_key": "a"} for n in (3, 4)],
    }
    await api.ask("POST", "/jobs/bulk", json=bulk, expect=200)
    await endpoint.received(6, at_most=30)

    got = numbers(endpoint)
    assert [n for n in got if n != 2] == [0, 0, 1, 3, 4]
    assert got.index(2) < got.index(1)
    shown = await api.job(first)
    assert (shown["ordering_key"], shown["concurrency_key"]) == ("a", None)


async def test_a_job_has_one_key_at_most_and_an_order_only_at_an_endpoint(
    api, endpoint
):
    made = await create_endpoint(api, url=endpoint.url)
    body = {"queue_name": "q", "payload": 1, "ordering_key": "k"}
    for more in (
        {},
        {"target": {"url": endpoint.url}},
        {"target": {"endpoint_id": made["id"]}, "concurrency_key": "k"},
    ):
        error = await api.ask("POST", "/jobs", json={**body, **more}, expect=400)
        assert [fault["field"] for fault in error["details"]] == ["ordering_key"]
