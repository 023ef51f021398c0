"""The worker kit against a real house: work, leases, ends, and handing in."""

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from libs.worker import (
    Enqueued,
    Fatal,
    NewJob,
    Producer,
    Refused,
    Retry,
    Unreachable,
    Worker,
    current_job,
)
from tests.support.house import open_api
from tests.support.waiting import until


@pytest.fixture
async def api(grpc_house, tenant):
    async with open_api(grpc_house, tenant) as client:
        yield client


@pytest.fixture
def url(grpc_port):
    return f"http://127.0.0.1:{grpc_port}"


@pytest.fixture
def worker(grpc_house, url, tenant):
    return Worker(url, tenant.api_key, drain_seconds=10)


@asynccontextmanager
async def running(worker):
    """Let a worker run until the block ends, and then drain."""
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait_for(task, 40)


async def ended(api, job_ids, status="completed"):
    for job_id in job_ids:
        await api.until_status(job_id, status, at_most=40)


async def test_jobs_are_worked_on_side_by_side_and_completed_with_results(api, worker):
    at_once = most = 0

    @worker.handler("sums", concurrency=3)
    async def add(job):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        assert current_job() is job
        return {"sum": sum(job.payload["add"]), "id": job.id}

    jobs = [
        await api.create(queue_name="sums", payload={"add": [n, 1, 0.5]})
        for n in range(20)
    ]
    async with running(worker):
        await ended(api, jobs)

    for n, job_id in enumerate(jobs):
        assert (await api.job(job_id))["result"] == {"sum": n + 1.5, "id": job_id}
    assert 1 < most <= 3


async def test_a_handler_that_is_no_coroutine_has_a_thread(api, worker):
    threads = set()
    both = threading.Barrier(2)

    @worker.handler("slow", concurrency=2)
    def work(job):
        threads.add(threading.current_thread().name)
        both.wait(timeout=30)
        return {"seen": current_job().id == job.id}

    jobs = [await api.create(queue_name="slow") for _ in range(2)]
    async with running(worker):
        await ended(api, jobs)

    assert len(threads) == 2
    assert [(await api.job(one))["result"] for one in jobs] == [{"seen": True}] * 2


async def test_what_a_handler_raises_says_what_is_next(api, worker):
    @worker.handler("moods")
    async def work(job):
        match job.payload:
            case "later":
                raise Retry("busy", after=600)
            case "never":
                raise Fatal("no such customer")
            case "bug":
                raise LookupError("oh")
            case "odd":
                return {"n": {1, 2}}

    jobs = {
        mood: await api.create(queue_name="moods", payload=mood)
        for mood in ("later", "never", "bug", "odd", "fine")
    }
    async with running(worker):
        await ended(api, [jobs["fine"]])
        await ended(api, [jobs["never"]], "deadletter")

        async def failed(mood):
            job = await api.job(jobs[mood])
            return job if job["last_error"] else None

        later = await until(lambda: failed("later"), at_most=20)
        bug = await until(lambda: failed("bug"), at_most=20)
        odd = await until(lambda: failed("odd"), at_most=20)

    never = await api.job(jobs["never"])
    assert (never["dead_reason"], never["last_error"]) == (
        "given_up",
        "no such customer",
    )
    assert (later["status"], later["last_error"]) == ("pending", "busy")
    assert later["scheduled_at"] > later["updated_at"]
    [attempt] = await api.attempts(jobs["later"])
    assert later["scheduled_at"][:15] > attempt["started_at"][:15], "minutes later"
    assert bug["last_error"] == "LookupError: oh"
    assert odd["last_error"].startswith("result refused: ")


async def test_a_lease_is_kept_for_as_long_as_the_work_takes(api, worker):
    @worker.handler("long", lease_seconds=5)
    async def work(_):
        await asyncio.sleep(11)

    job_id = await api.create(queue_name="long")
    async with running(worker):
        await ended(api, [job_id])

    assert len(await api.attempts(job_id)) == 1


async def test_who_lost_its_lease_is_cancelled_and_tells_nothing(api, worker):
    runs: Counter[str] = Counter()
    cancelled = asyncio.Event()

    @worker.handler("taken", lease_seconds=5)
    async def work(job):
        runs[job.lease_id] += 1
        if len(runs) == 1:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                assert job.lost.is_set()
                cancelled.set()
                raise
        return {"run": len(runs)}

    job_id = await api.create(queue_name="taken")
    async with running(worker):
        await until(lambda: runs, at_most=20)
        # Whoever is taken off the list loses what it has.
        await api.ask("POST", f"/workers/{worker.id}/deregister", expect=204)
        await asyncio.wait_for(cancelled.wait(), 30)
        await ended(api, [job_id])

    assert (await api.job(job_id))["result"] == {"run": 2}
    assert set(runs.values()) == {1}


async def test_stopping_lets_jobs_in_hand_end_and_takes_no_more(api, worker):
    began, go_on = asyncio.Event(), asyncio.Event()

    @worker.handler("drained", concurrency=1)
    async def work(_):
        began.set()
        await go_on.wait()

    first = await api.create(queue_name="drained")
    second = await api.create(queue_name="drained")
    async with running(worker) as task:
        await asyncio.wait_for(began.wait(), 20)
        worker.stop()
        await asyncio.sleep(0.2)
        assert not task.done()
        go_on.set()
        await asyncio.wait_for(task, 20)

    assert (await api.job(first))["status"] == "completed"
    assert (await api.job(second))["status"] == "pending"


async def test_what_is_not_done_in_time_goes_to_others_at_once(api, url, tenant):
    worker = Worker(url, tenant.api_key, drain_seconds=0.2)
    began = asyncio.Event()

    @worker.handler("late", lease_seconds=3600)
    async def work(_):
        began.set()
        await asyncio.sleep(600)

    job_id = await api.create(queue_name="late")
    async with running(worker):
        await asyncio.wait_for(began.wait(), 20)

    await api.until_status(job_id, "pending", at_most=20)


async def test_a_worker_stands_in_the_list_and_leaves_it(api, worker):
    @worker.handler("listed", concurrency=7)
    async def work(_):
        pass

    async def listed():
        rows = await api.ask("GET", "/workers", expect=200)
        return [row for row in rows if row["id"] == worker.id]

    async with running(worker):
        [row] = await until(listed, at_most=20)
        assert row["max_concurrency"] == 7

    assert [row["status"] for row in await listed()] in ([], ["offline"])


async def test_a_key_that_is_none_ends_the_worker(grpc_house, url):
    worker = Worker(url, "sk_live_nobody")

    @worker.handler("mail")
    async def work(_):
        pass

    with pytest.raises(Refused, match="UNAUTHENTICATED"):
        await asyncio.wait_for(worker.run(), 20)


async def test_jobs_are_handed_in_once(api, url, tenant):
    async with Producer(url, tenant.api_key) as producer:
        made = await producer.enqueue("mail", {"n": 1}, idempotency_key="one")
        again = await producer.enqueue("mail", {"n": 1}, idempotency_key="one")
        with pytest.raises(Refused, match="priority"):
            await producer.enqueue("mail", {"n": 1}, priority=1000)

    assert made.created
    assert again == Enqueued(made.job_id, created=False)
    assert (await api.job(made.job_id))["payload"] == {"n": 1}


async def test_more_than_a_message_carries_is_handed_in_bit_by_bit(api, url, tenant):
    jobs = [NewJob(payload={"n": n}) for n in range(1200)]
    jobs[1100] = NewJob(priority=1000)
    large = [NewJob(payload={"text": "x" * 500_000}) for _ in range(9)]
    async with Producer(url, tenant.api_key) as producer:
        made = await producer.enqueue_many("many", jobs)
        heavy = await producer.enqueue_many("heavy", large)

    assert [type(one) for one in made].count(Enqueued) == 1199
    assert isinstance(made[1100], Refused)
    last = made[-1]
    assert isinstance(last, Enqueued)
    assert (await api.job(last.job_id))["payload"] == {"n": 1199}
    assert all(isinstance(one, Enqueued) and one.created for one in heavy)


async def test_who_is_away_is_waited_for_when_a_repeat_is_safe(
    grpc_house, grpc_port, url, tenant
):
    async with Producer(url, tenant.api_key) as producer:
        await grpc_house.stop("ingest")
        with pytest.raises(Unreachable):
            await producer.enqueue("mail", {"n": 1})
        waiting = asyncio.create_task(
            producer.enqueue("mail", {"n": 2}, idempotency_key="two")
        )
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await grpc_house.start("ingest", grpc_port=grpc_port)

        assert (await asyncio.wait_for(waiting, 30)).created
