"""The worker kit in trouble: refusals, errors that pass, silence, too much haste."""

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest

from libs.common.pb import spooled_pb2 as pb
from libs.worker import Fatal, Producer, Refused, Unreachable, Worker
from tests.support.grpc_proxy import Mood, run_grpc_proxy
from tests.support.house import open_api, run_house
from tests.support.waiting import until

Code = grpc.StatusCode
CRASHED = Mood(Code.INTERNAL, "An internal error occurred; it was logged")
#: What an ingest with a bug says, and proxies of an ingest that is away.
PASSING = [CRASHED, Mood(Code.UNKNOWN), Mood(Code.CANCELLED), Mood(Code.UNAVAILABLE)]


@pytest.fixture
async def api(grpc_house, tenant):
    async with open_api(grpc_house, tenant) as client:
        yield client


@pytest.fixture
async def proxy(grpc_house, grpc_port):
    async with run_grpc_proxy(grpc_port) as proxy:
        yield proxy


@pytest.fixture
def worker(proxy, tenant):
    return Worker(proxy.url, tenant.api_key, drain_seconds=20)


@asynccontextmanager
async def running(worker):
    """Let a worker run until the block ends, and then drain."""
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait([task], timeout=40)
        assert task.done()


async def dead(api, job_id):
    """Return why a job is a dead letter: the reason, the error, how many attempts."""
    job = await api.until_status(job_id, "deadletter", at_most=40)
    return job["dead_reason"], job["last_error"], len(await api.attempts(job_id))


# --- results that are refused ---------------------------------------------------------

UNTOLD = {
    "large": ({"x": "y" * 1024 * 1024}, "result: larger than 1 MiB"),
    # A megabyte as JSON, more than a message as a `Struct`.
    "bulky": ({"n": [1] * 450_000}, "larger than max"),
    "exact": ({"list": [{"id": 2**60 + 1}]}, "result.list[0].id: larger than 2^53"),
    "deep": (json.loads('{"a":' * 40 + "1" + "}" * 40), "nested more than 30 deep"),
    "odd": ({"n": {1, 2}}, "set is not JSON serializable"),
}


async def test_a_result_that_nobody_takes_fails_its_job_and_no_other(api, worker):
    @worker.handler("results", concurrency=10)
    async def work(job):
        what = job.payload["what"]
        return UNTOLD[what][0] if what in UNTOLD else {"fine": True}

    fine = [
        await api.create(queue_name="results", payload={"what": "fine"})
        for _ in range(5)
    ]
    jobs = {
        what: await api.create(queue_name="results", payload={"what": what})
        for what in UNTOLD
    }
    async with running(worker):
        for job_id in fine:
            await api.until_status(job_id, "completed", at_most=40)
        for what, job_id in jobs.items():
            reason, error, attempts = await dead(api, job_id)
            assert (reason, attempts) == ("given_up", 1)
            assert error.startswith("result refused: "), error
            assert UNTOLD[what][1] in error


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL])
async def test_what_fails_together_is_told_one_by_one(api, proxy, worker, code):
    all_in_hand = asyncio.Barrier(4)

    @worker.handler("results", concurrency=4)
    async def work(job):
        await all_in_hand.wait()
        return {"what": job.payload["what"]}

    def judge(request):
        items = pb.CompleteBatchRequest.FromString(request).items
        bad = any(item.result.fields["what"].string_value == "bad" for item in items)
        # A bug passes once the job is told of by itself; a refusal does not.
        together = len(items) > 1 or code is Code.INVALID_ARGUMENT
        return Mood(code, "no such result") if bad and together else None

    proxy.judges["CompleteBatch"] = judge
    jobs = {
        what: await api.create(queue_name="results", payload={"what": what})
        for what in ("a", "b", "bad", "c")
    }
    async with running(worker):
        for what in ("a", "b", "c"):
            job = await api.until_status(jobs[what], "completed", at_most=40)
            assert job["result"] == {"what": what}
        if code is Code.INVALID_ARGUMENT:
            reason, error, _ = await dead(api, jobs["bad"])
            assert reason == "given_up"
            assert error == "result refused: no such result (INVALID_ARGUMENT)"
        else:
            await api.until_status(jobs["bad"], "completed", at_most=40)

    for job_id in jobs.values():
        assert len(await api.attempts(job_id)) == 1


async def test_what_is_said_of_one_job_is_heard(api, proxy, worker):
    said = {"later": ["UNAVAILABLE", "INTERNAL"], "never": ["TOO_ODD"], "lost": []}

    @worker.handler("results", concurrency=1, lease_seconds=5)
    async def work(job):
        if job.payload["what"] == "lost" and not job.retry_count:
            said["lost"] = ["LEASE_EXPIRED"]
        return {"what": job.payload["what"]}

    def judge(request):
        [item] = pb.CompleteBatchRequest.FromString(request).items
        codes = said[item.result.fields["what"].string_value]
        if not codes:
            return None
        answer = pb.CompleteBatchResponse()
        answer.items.add().error.CopyFrom(
            pb.ErrorResponse(code=codes.pop(0), message="not this one")
        )
        return answer.SerializeToString()

    proxy.judges["CompleteBatch"] = judge
    jobs = {
        what: await api.create(queue_name="results", payload={"what": what})
        for what in said
    }
    async with running(worker):
        reason, error, attempts = await dead(api, jobs["never"])
        for what in ("later", "lost"):
            await api.until_status(jobs[what], "completed", at_most=40)

    assert (reason, attempts) == ("given_up", 1)
    assert error == "result refused: not this one"
    assert len(await api.attempts(jobs["later"])) == 1
    # Nobody fails what may be somebody else's.
    assert len(await api.attempts(jobs["lost"])) == 2


# --- errors that pass -----------------------------------------------------------------


async def test_an_error_that_passes_ends_nothing(api, proxy, worker):
    runs: list[str] = []

    @worker.handler("mail", concurrency=3, lease_seconds=9)
    async def work(job):
        runs.append(job.id)
        await asyncio.sleep(7)

    for method in ("Register", "Dequeue", "RenewLeases", "CompleteBatch"):
        proxy.moods[method] = [*PASSING]
    jobs = [await api.create() for _ in range(3)]
    async with running(worker) as task:
        for job_id in jobs:
            await api.until_status(job_id, "completed", at_most=60)
        assert not task.done()

    assert sorted(runs) == sorted(jobs)
    assert not any(proxy.moods.values())


async def test_what_was_done_before_the_error_is_no_loss(api, proxy, worker):
    @worker.handler("mail", concurrency=3)
    async def work(_):
        return {"done": True}

    proxy.moods["CompleteBatch"] = [Mood(Code.UNKNOWN, carries=True)]
    jobs = [await api.create() for _ in range(3)]
    async with running(worker):
        for job_id in jobs:
            job = await api.until_status(job_id, "completed", at_most=40)
            assert job["result"] == {"done": True}


@pytest.mark.parametrize(
    "code",
    [
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.UNIMPLEMENTED,
        Code.FAILED_PRECONDITION,
        Code.ALREADY_EXISTS,
        Code.RESOURCE_EXHAUSTED,
    ],
)
async def test_who_is_refused_ends_when_what_is_in_hand_is_done(
    api, proxy, worker, code
):
    began, go_on = asyncio.Event(), asyncio.Event()

    @worker.handler("mail", concurrency=3, lease_seconds=5)
    async def work(_):
        began.set()
        await go_on.wait()
        return {"done": True}

    job_id = await api.create()
    async with running(worker) as task:
        await asyncio.wait_for(began.wait(), 20)
        await until(lambda: len(proxy.times("Dequeue")) == 2)
        proxy.moods["Dequeue"] = [Mood(code, "not for you")]
        # The claim under way ends with this, and the next one is refused.
        other = await api.create()
        await until(lambda: not proxy.moods["Dequeue"], at_most=40)
        await asyncio.sleep(0.2)
        assert not task.done()
        go_on.set()
        with pytest.raises(Refused, match=rf"not for you \({code.name}\)"):
            await asyncio.wait_for(task, 20)

    for done in (job_id, other):
        job = await api.job(done)
        assert (job["status"], job["result"]) == ("completed", {"done": True})


# --- draining, and cancellations ------------------------------------------------------


async def test_who_drains_shows_that_it_lives(
    database_url, nats_url, grpc_port, tenant
):
    def more_often(answer):
        told = pb.RegisterWorkerResponse.FromString(answer)
        told.heartbeat_interval_secs = 1
        return told.SerializeToString()

    began, runs = asyncio.Event(), []
    async with (
        run_house(
            database_url,
            nats_url,
            services=("ingest", "scheduler"),
            grpc_port=grpc_port,
            worker_silence_seconds=5.0,
            worker_poll_seconds=0.1,
        ) as house,
        open_api(house, tenant) as api,
        run_grpc_proxy(grpc_port) as proxy,
    ):
        proxy.changes["Register"] = more_often
        worker = Worker(proxy.url, tenant.api_key, drain_seconds=60)

        @worker.handler("mail", lease_seconds=3600)
        async def work(job):
            runs.append(job.id)
            began.set()
            await asyncio.sleep(9)

        async def shown():
            rows = await api.ask("GET", "/workers", expect=200)
            return {row["id"]: row["status"] for row in rows}.get(worker.id)

        job_id = await api.create()
        async with running(worker) as task:
            await asyncio.wait_for(began.wait(), 20)
            worker.stop()
            await until(lambda: _equals(shown, "draining"), at_most=5)
            while not task.done():
                assert await shown() in ("draining", "offline")
                await asyncio.sleep(0.5)

        assert (await api.job(job_id))["status"] == "completed"
        assert len(await api.attempts(job_id)) == 1
        assert await shown() == "offline"
    assert runs == [job_id]


async def _equals(ask, wanted):
    return await ask() == wanted


async def test_a_cancellation_that_a_handler_lets_out_fails_the_attempt(api, worker):
    @worker.handler("moods", concurrency=2)
    async def work(job):
        if job.retry_count or job.payload == "fine":
            return {"fine": True}
        other = asyncio.create_task(asyncio.sleep(600))
        asyncio.get_running_loop().call_later(0.05, other.cancel)
        await other
        raise Fatal("it was not cancelled")

    job_id = await api.create(queue_name="moods", payload="cancelled")
    async with running(worker):
        await api.until_status(job_id, "completed", at_most=40)

    failed, completed = await api.attempts(job_id)
    assert failed["error"] == "CancelledError: what it waited for was cancelled"
    assert completed["error"] is None


# --- too fast -------------------------------------------------------------------------


async def limited(database_url, tenant, *, per_second, burst):
    """Give the organization a rate of its own."""
    limits = {"rate_limit_requests_per_second": per_second, "rate_limit_burst": burst}
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "UPDATE organizations SET custom_limits = $2 WHERE id = $1",
            tenant.id,
            json.dumps(limits),
        )
    finally:
        await conn.close()


async def test_a_worker_waits_as_long_as_it_was_told(api, proxy, worker):
    @worker.handler("mail")
    async def work(_):
        pass

    slower = Mood(Code.RESOURCE_EXHAUSTED, "slower", (("retry-after", "3"),))
    for method in ("Dequeue", "CompleteBatch"):
        proxy.moods[method] = [slower]
    job_id = await api.create()
    async with running(worker):
        await api.until_status(job_id, "completed", at_most=40)

    for method in ("Dequeue", "CompleteBatch"):
        first, second, *_ = proxy.times(method)
        assert second - first >= 3, method


async def test_who_hands_in_too_fast_is_slowed_down_and_makes_each_job_once(
    grpc_house, database_url, tenant, proxy
):
    await limited(database_url, tenant, per_second=1, burst=2)
    async with Producer(proxy.url, tenant.api_key) as producer:
        made = await asyncio.gather(
            *(producer.enqueue("mail", {"n": n}) for n in range(6))
        )

    assert len({one.job_id for one in made}) == 6
    assert len(proxy.times("EnqueueBatch")) > 6, "nobody was too fast"
    conn = await asyncpg.connect(database_url)
    try:
        assert await conn.fetchval("SELECT count(*) FROM jobs") == 6
    finally:
        await conn.close()


async def test_who_has_no_patience_is_told_that_nothing_was_done(
    grpc_house, proxy, tenant
):
    slower = Mood(Code.RESOURCE_EXHAUSTED, "slower", (("retry-after", "7"),))
    proxy.moods["EnqueueBatch"] = [slower, CRASHED, slower, slower]
    async with Producer(proxy.url, tenant.api_key, patience_seconds=5) as producer:
        with pytest.raises(Unreachable, match="slower") as hasty:
            await producer.enqueue("mail")
        with pytest.raises(Unreachable, match="internal error") as unlucky:
            await producer.enqueue("mail")
        with pytest.raises(Unreachable, match="slower"):
            await producer.enqueue("mail", idempotency_key="k")

    assert (hasty.value.undone, hasty.value.wait_seconds) == (True, 7.0)
    assert not unlucky.value.undone
    assert len(proxy.times("EnqueueBatch")) == 3


# --- numbers --------------------------------------------------------------------------


async def test_integers_reach_a_handler_as_they_were_sent(api, worker, proxy, tenant):
    seen = {}

    @worker.handler("numbers")
    async def work(job):
        seen[job.id] = job.payload

    numbers = {"list": [2**53 + 1, -(2**63), 10**40], "whole": 1, "large": 1e300}
    job_id = await api.create(queue_name="numbers", payload=numbers)
    async with Producer(proxy.url, tenant.api_key) as producer:
        with pytest.raises(ValueError, match=r"^payload\.user\.id: larger than 2\^53"):
            await producer.enqueue("numbers", {"user": {"id": 2**60 + 1}})
        exact = await producer.enqueue("numbers", {"n": 2**53})
    async with running(worker):
        for one in (job_id, exact.job_id):
            await api.until_status(one, "completed", at_most=40)

    assert seen == {job_id: numbers, exact.job_id: {"n": 2**53}}
