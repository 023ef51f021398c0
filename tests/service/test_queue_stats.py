"""How a queue, or all of them, stand: as the tables say, however busy they are."""

import asyncio
import json
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.streamer.marks import read_mark
from tests.support.house import open_api, run_house
from tests.support.tenants import scoped
from tests.support.waiting import until
from tests.support.watching import open_gallery

QUEUE = "letters"
PATH = f"/queues/{QUEUE}"
WORKER = "worker-1"
ROUNDS = 60


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url, nats_url, services=("ingest", "scheduler")
    ) as house:
        yield house


@pytest.fixture
async def api(house, tenant):
    async with open_api(house, tenant) as client:
        yield client


@pytest.fixture
async def gallery(database_url, nats_url):
    async with open_gallery(
        database_url, nats_url, queue_stats_seconds=0.02, system_health_seconds=0.05
    ) as gallery:
        yield gallery


class Watching:
    """Who watches, as the gallery knows them."""

    def __init__(self, api):
        self.headers = {"Authorization": f"Bearer {api.tenant.api_key}"}


class Onlooker:
    """Keeps the figures that a stream tells, of a queue or of all of them."""

    def __init__(self, stream):
        self.told = []
        self._reading = asyncio.create_task(self._read(stream))

    async def _read(self, stream):
        while (fields := await stream.frame()) is not None:
            envelope = json.loads(fields.get("data", '{"type": ""}'))
            data = envelope.get("data")
            match envelope["type"]:
                case "QueueStats":
                    # Nobody goes on from figures.
                    assert "id" not in fields
                    assert data.pop("queue_name") == QUEUE
                    assert data.pop("timestamp")
                    self.told.append(data)
                case "SystemHealth" if "jobs" in data:
                    assert (data["database"], data["redis"]) == (True, True)
                    # Nor from these, but what they count is said.
                    assert "id" not in fields
                    assert read_mark(data["as_of"])
                    self.told.append(data["jobs"])

    def last(self):
        assert not self._reading.done(), self._reading.exception()
        assert self.told
        return self.told[-1]

    async def leave(self):
        self._reading.cancel()
        await asyncio.wait([self._reading])


async def of_queue(api):
    """Return how the queue stands by the tables, as a frame tells it."""
    queue = await api.ask("GET", f"/queues/{QUEUE}/stats", expect=200)
    return {
        "pending": queue["pending_jobs"],
        "processing": queue["processing_jobs"],
        "completed": queue["completed_jobs_24h"],
        "failed": queue["deadletter_jobs"],
        "scheduled": queue["scheduled_jobs"],
    }


async def of_house(api):
    """Return the same of all queues."""
    stats = await api.ask("GET", "/jobs/stats", expect=200)
    stats["failed"] = stats["deadletter"]
    names = ("pending", "processing", "completed", "failed", "scheduled")
    return {name: stats[name] for name in names}


async def claim(api, limit):
    asked = {"queue_name": QUEUE, "worker_id": WORKER, "limit": limit}
    return (await api.ask("POST", "/jobs/claim", json=asked, expect=200))["jobs"]


async def listed(api, status):
    query = f"/jobs?queue_name={QUEUE}&status={status}&limit=2"
    found = await api.ask("GET", query, expect=200)
    return [job["id"] for job in found]


async def create(api, dice):
    for _ in range(dice.randint(1, 4)):
        queue_name = dice.choice([QUEUE, QUEUE, "parcels"])
        await api.create(queue_name=queue_name, max_retries=dice.choice([0, 3]))


async def plan(api, dice):
    at = datetime.now(UTC) + timedelta(seconds=dice.choice([0.05, 3600]))
    await api.create(queue_name=QUEUE, scheduled_at=at.isoformat())


async def work(api, dice):
    for job in await claim(api, dice.randint(1, 3)):
        done = {"worker_id": WORKER}
        match dice.choice(["complete", "fail", "leave"]):
            case "complete":
                await api.ask("POST", f"/jobs/{job['id']}/complete", json=done)
            case "fail":
                body = {**done, "error": "no luck"}
                await api.ask("POST", f"/jobs/{job['id']}/fail", json=body)


async def cancel(api, dice):
    for job in await listed(api, dice.choice(["pending", "scheduled"])):
        await api.ask("DELETE", f"/jobs/{job}")


async def retry(api, _):
    for job in await listed(api, "deadletter"):
        await api.ask("POST", f"/jobs/{job}/retry")


async def purge(api, dice):
    if dice.random() < 0.2:
        body = {"queue_name": QUEUE, "limit": 1, "confirm": True}
        await api.ask("POST", "/jobs/dlq/purge", json=body, expect=200)


DOINGS = (create, create, plan, work, work, work, cancel, retry, purge)


@pytest.mark.parametrize(
    ("path", "figures"), [(PATH, of_queue), ("", of_house)], ids=["queue", "house"]
)
async def test_figures_agree_with_the_tables_whoever_begins_to_watch_when(
    gallery, api, path, figures
):
    """Watchers come while jobs move; in the end all of them know the same."""
    dice = random.Random(4)
    async with AsyncExitStack() as stack:
        onlookers = []

        async def come():
            stream = gallery.stream(Watching(api), path=path)
            onlooker = Onlooker(await stack.enter_async_context(stream))
            stack.push_async_callback(onlooker.leave)
            onlookers.append(onlooker)

        done = 0

        async def busy():
            nonlocal done
            for _ in range(ROUNDS):
                await dice.choice(DOINGS)(api, dice)
                done += 1

        def has_come(rounds):
            return done >= rounds

        workers = [asyncio.create_task(busy()) for _ in range(3)]
        for part in range(6):
            await until(partial(has_come, part * ROUNDS // 2), at_most=30)
            await come()
        await asyncio.gather(*workers)
        await come()

        async def agree():
            stands = await figures(api)
            assert [onlooker.last() for onlooker in onlookers] == [stands] * len(
                onlookers
            )
            return stands

        stands = await until(agree)

    assert stands["completed"] > 0
    assert len(onlookers) == 7
    told = [frame for onlooker in onlookers for frame in onlooker.told]
    numbers = [v for frame in told for v in frame.values() if isinstance(v, int)]
    assert min(numbers) >= 0
    assert max(frame["failed"] for frame in told) > 0
    # Told as it changes, and not only in the end.
    assert max(len(onlooker.told) for onlooker in onlookers) > 10


async def test_a_queue_without_jobs_has_none_and_is_told_once(gallery, api):
    async with gallery.stream(Watching(api), path=PATH) as stream:
        first = Onlooker(stream)
        await until(first.last)
        assert set(first.last().values()) == {0}

        await api.create(queue_name="another")
        await api.create(queue_name=QUEUE)

        await until(lambda: first.last()["pending"] == 1)
        await first.leave()

    assert len(first.told) == 2


async def test_only_who_watches_a_queue_and_wants_them_gets_figures(gallery, api):
    whose = Watching(api)
    async with (
        gallery.stream(whose) as everything,
        gallery.stream(whose, path=PATH, events="job.created") as created,
        gallery.stream(whose, queue=QUEUE, events="queue.stats") as figures_only,
    ):
        job = await api.create(queue_name=QUEUE)
        onlooker = Onlooker(figures_only)
        await until(lambda: onlooker.last()["pending"] == 1)
        await onlooker.leave()

        for stream in everything, created:
            kind = "SystemHealth"
            while kind == "SystemHealth":
                _, kind, data = await stream.event()
            assert (kind, data["job_id"]) == ("JobCreated", job)


async def test_a_key_of_other_queues_gets_no_figures(gallery, api):
    limited = await scoped(api, "elsewhere")
    status, _ = await gallery.refused(PATH, Watching(limited).headers)
    assert status == 403


async def test_a_key_of_some_queues_is_told_no_sum_of_all(gallery, api):
    limited = await scoped(api, QUEUE)
    async with (
        gallery.stream(Watching(api), events="system.health") as whole,
        gallery.stream(Watching(limited), events="system.health") as part,
    ):
        await api.create(queue_name="elsewhere")
        onlooker = Onlooker(whole)
        await until(lambda: onlooker.last()["pending"] == 1)
        await onlooker.leave()

        for _ in range(3):
            _, kind, data = await part.event()
            assert (kind, "jobs" in data) == ("SystemHealth", False)
