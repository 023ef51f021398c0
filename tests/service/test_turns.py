"""Jobs that share a key take turns, as producers, workers and receivers see it."""

import asyncio
import time
from itertools import pairwise

import asyncpg
import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.takers import Takers
from tests.support.waiting import until
from tests.support.work import claim, say

FAST = {"strategy": "schedule", "schedule_seconds": [0.05], "jitter": 0}
KEY = {"concurrency_key": "key"}


async def create(api, count, target=None, **fields):
    """Create jobs one after the other; return their ids."""
    return [await api.create(target, **{**KEY, **fields}) for _ in range(count)]


async def take(api, count=1):
    """Claim all there is, *count* jobs at least; return their ids.

    They may come in a moment: who looks at a line leaves it to whoever does so already.
    """
    taken: list[str] = []
    while len(taken) < count:
        taken += [job["id"] for job in await claim(api, limit=10, wait_seconds=5)]
    return taken


async def statuses(api, ids):
    return [(await api.job(id_))["status"] for id_ in ids]


# --- workers --------------------------------------------------------------------------


async def test_workers_get_the_jobs_of_a_key_one_by_one_in_order(api):
    ids = await create(api, 3)
    free = await api.create()

    assert sorted(await take(api, 2)) == sorted([ids[0], free])
    assert await claim(api, limit=10) == []
    assert await statuses(api, ids) == ["processing", "pending", "pending"]

    for before, after in pairwise(ids):
        await say(api, "complete", before)
        assert await take(api) == [after]
    await say(api, "complete", ids[2])
    assert await statuses(api, ids) == ["completed"] * 3


async def test_who_waits_for_work_is_given_the_next_as_soon_as_one_is_done(api):
    ids = await create(api, 2)
    await take(api)
    waiting = asyncio.create_task(claim(api, worker="w2", wait_seconds=20))
    await asyncio.sleep(0.2)
    began = time.monotonic()

    await say(api, "complete", ids[0])

    [job] = await waiting
    took = time.monotonic() - began
    print(f"\nthe next of a key was in a worker's hands after {took * 1000:.0f} ms")
    assert job["id"] == ids[1]
    # Somebody rang: nobody had to look again by themselves.
    assert took < 4


async def test_a_job_that_a_worker_fails_keeps_its_turn_and_a_dead_one_ends_it(api):
    ids = await create(api, 2, max_retries=1, retry=FAST)
    for _ in range(2):
        assert await take(api) == [ids[0]]
        await say(api, "fail", ids[0])

    assert await take(api) == [ids[1]]
    await api.ask("POST", f"/jobs/{ids[0]}/retry", expect=200)
    again = await api.job(ids[0])
    assert (again["status"], again["concurrency_key"]) == ("pending", "key")
    assert await claim(api, limit=10) == []
    await say(api, "complete", ids[1])
    assert await take(api) == [ids[0]]


async def test_a_queue_says_how_many_of_a_key_run_at_once_and_may_change_its_mind(api):
    ids = await create(api, 5)
    assert len(await take(api)) == 1

    async def allow(width):
        settings = {"settings": {"concurrency_per_key": width}}
        await api.ask("PUT", "/queues/mail/config", json=settings, expect=200)

    await allow(3)
    assert await take(api, 2) == ids[1:3]
    await allow(None)
    await say(api, "complete", ids[0])
    assert await claim(api, limit=10) == []
    for id_ in ids[1:3]:
        await say(api, "complete", id_)
    assert await take(api) == ids[3:4]


async def test_who_is_cancelled_makes_room_for_the_next(api):
    ids = await create(api, 3)

    await api.ask("DELETE", f"/jobs/{ids[0]}", expect=204)
    await api.ask("DELETE", f"/jobs/{ids[1]}", expect=204)

    assert await take(api) == [ids[2]]


async def test_a_queue_is_deleted_with_those_in_line(api):
    await create(api, 5)
    await take(api)

    await api.ask("DELETE", "/queues/mail?delete_jobs=true", expect=204)

    assert await claim(api) == []


# --- producers ------------------------------------------------------------------------


async def test_a_job_shows_its_key_and_that_it_is_pending(api):
    first, second = await create(api, 2)
    without = await api.create()

    shown = await api.job(second)
    assert (shown["status"], shown["concurrency_key"]) == ("pending", "key")
    assert (await api.job(first))["concurrency_key"] == "key"
    assert (await api.job(without))["concurrency_key"] is None
    listed = await api.ask("GET", "/jobs?status=pending", expect=200)
    assert {job["id"] for job in listed} == {first, second, without}
    assert await api.history(second) == ["created"]


async def test_a_job_for_later_is_scheduled_when_its_turn_has_come(api):
    later = "2040-01-01T00:00:00Z"
    first, second = await create(api, 2, scheduled_at=later)

    assert await statuses(api, [first, second]) == ["scheduled", "pending"]
    shown = await api.job(second)
    assert shown["scheduled_at"] == (await api.job(first))["scheduled_at"]


async def test_many_at_once_come_in_their_order(api):
    jobs = [{"payload": {"n": n}, "concurrency_key": f"k{n % 2}"} for n in range(20)]
    body = {"queue_name": "mail", "jobs": jobs}
    made = await api.ask("POST", "/jobs/bulk", json=body, expect=200)
    ids = [each["job_id"] for each in made["succeeded"]]

    order: list[str] = []
    while len(order) < len(ids):
        taken = await take(api)
        order += taken
        for job_id in taken:
            await say(api, "complete", job_id)

    for mine in (ids[::2], ids[1::2]):
        assert [id_ for id_ in order if id_ in mine] == mine


async def test_two_producers_at_once_each_find_their_jobs_in_order(api):
    async def produce():
        return await create(api, 30)

    mine, theirs = await asyncio.gather(produce(), produce())

    order: list[str] = []
    while len(order) < len(mine) + len(theirs):
        [job_id] = await take(api)
        order.append(job_id)
        await say(api, "complete", job_id)
    assert [id_ for id_ in order if id_ in mine] == mine
    assert [id_ for id_ in order if id_ in theirs] == theirs


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", 7])
async def test_a_key_that_is_none_is_refused(api, key):
    body = {"queue_name": "mail", "payload": {}, "concurrency_key": key}
    status, said, _ = await api.ask("POST", "/jobs", json=body)

    assert status in {400, 422}
    assert [fault["field"] for fault in said["details"]] == ["concurrency_key"]


async def test_a_key_is_part_of_what_a_repeat_must_share(api):
    header = {"Idempotency-Key": "once"}
    body = {"queue_name": "mail", "payload": {}, **KEY}
    made = await api.ask("POST", "/jobs", json=body, headers=header, expect=201)

    again = await api.ask("POST", "/jobs", json=body, headers=header, expect=200)
    other = {**body, "concurrency_key": "other"}
    said = await api.ask("POST", "/jobs", json=other, headers=header, expect=422)

    assert again["id"] == made["id"]
    assert said["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert len(await take(api)) == 1


async def test_grpc_producers_have_keys_too(grpc_api):
    items = [pb.EnqueueItem(concurrency_key="key", payload={"n": 2})]
    batch = pb.EnqueueBatchRequest(queue_name="mail", items=items)
    first = await grpc_api.enqueue(concurrency_key="key")
    made = await grpc_api.call("EnqueueBatch", batch)
    free = await grpc_api.enqueue()

    got = await grpc_api.dequeue(batch_size=10, wait_seconds=5)
    got += await grpc_api.dequeue(batch_size=10)

    assert sorted(job.id for job in got) == sorted([first, free])
    await grpc_api.call(
        "Complete", pb.CompleteRequest(job_id=first, worker_id="w1", result={})
    )
    [second] = await grpc_api.dequeue(batch_size=10, wait_seconds=5)
    assert second.id == made.items[0].job_id


# --- receivers ------------------------------------------------------------------------


async def test_a_job_that_is_tried_again_is_overtaken_by_none_of_its_key(api, endpoint):
    endpoint.answers = [500, 500]
    ids = await create(api, 3, endpoint.url, retry=FAST)

    await api.until_status(ids[2], "completed")

    assert endpoint.ids == [ids[0]] * 3 + ids[1:]


async def test_a_slow_key_holds_up_no_other(api, endpoint):
    """They share a queue and a receiver, and so a lane."""
    slow = asyncio.Event()

    async def plan(received):
        if received.path == "/slow":
            await slow.wait()
        return 200

    endpoint.otherwise = plan
    stuck = await create(api, 2, endpoint.url_of("/slow"), concurrency_key="slow")
    ids = []
    for n in range(20):
        key = f"key {n}"
        ids += await create(api, 3, endpoint.url_of("/quick"), concurrency_key=key)

    for id_ in ids:
        await api.until_status(id_, "completed")
    assert await statuses(api, stuck) == ["processing", "pending"]
    slow.set()
    await api.until_status(stuck[1], "completed")


async def test_a_thousand_jobs_of_one_key_flow(api, house, endpoint):
    takers = Takers()
    endpoint.otherwise = takers
    began = time.monotonic()
    ids = []
    for _ in range(10):
        body = {
            "queue_name": "mail",
            "target": {"url": endpoint.url},
            "jobs": [{"payload": {"n": n}, **KEY} for n in range(100)],
        }
        made = await api.ask("POST", "/jobs/bulk", json=body, expect=200)
        ids += [each["job_id"] for each in made["succeeded"]]

    conn = await asyncpg.connect(house.database_url)
    try:
        completed = "SELECT count(*) = 1000 FROM finished WHERE ending = 'completed'"
        await until(lambda: conn.fetchval(completed), at_most=120)
    finally:
        await conn.close()

    took = time.monotonic() - began
    print(f"\n1000 jobs of one key, one at a time: {1000 / took:.0f} a second")
    assert takers.beside == []
    assert takers.order() == ids
