"""A house is upgraded while it works: the old services and the new ones, side by side.

The database gets the new schema under the old services; then each is replaced in turn,
and for a while both are there.  Nothing that was accepted is lost, nobody dies, and so
nothing comes twice.
"""

import asyncio
import itertools
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import asyncpg
import pytest

from libs.cli.embedded.ports import free_port
from libs.common.migrate import migrate
from tests.support.databases import copy_of
from tests.support.house import all_completed, assert_invariants
from tests.support.predecessor import Unknown, export, migrate_with, predecessor
from tests.support.processes import Processes, as_program
from tests.support.waiting import until

#: The order in which they are replaced: any would do.
FIVE = ("scheduler", "dispatcher", "delivery", "ingest", "streamer")
#: How much is to happen with each mixture of services.
STEP_JOBS = 20


class Load:
    """A producer and a worker that never tire, and what they were told."""

    def __init__(self, session, doors, key, endpoint):
        self.session = session
        #: Where ingests may be: who gets no answer at one asks the other.
        self.doors = itertools.cycle(doors)
        self.headers = {"Authorization": f"Bearer {key}"}
        self.endpoint = endpoint
        self.webhooks: list[str] = []
        self.work: list[str] = []
        self.claimed: Counter[str] = Counter()
        self.completed: set[str] = set()
        self.wrong: list[object] = []

    async def ask(self, path, body):
        """Ask until somebody answers; a refusal that is no outage is wrong."""
        while True:
            url = f"{next(self.doors)}/api/v1{path}"
            try:
                async with self.session.post(
                    url, json=body, headers=self.headers
                ) as answer:
                    if answer.status < 300:
                        return await answer.json() if answer.status != 204 else None
                    if answer.status != 503:
                        self.wrong.append((path, answer.status, await answer.text()))
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)

    async def produce(self):
        for number in itertools.count():
            body = {"payload": {"n": number}, "idempotency_key": f"key-{number}"}
            hook = {**body, "queue_name": "mail", "target": {"url": self.endpoint.url}}
            body["idempotency_key"] = f"work-{number}"
            work = {**body, "queue_name": "work"}
            self.webhooks.append((await self.ask("/jobs", hook))["id"])
            self.work.append((await self.ask("/jobs", work))["id"])
            await asyncio.sleep(0.02)

    async def labour(self):
        asked = {"queue_name": "work", "worker_id": "w", "limit": 5}
        while True:
            for job in (await self.ask("/jobs/claim", asked))["jobs"]:
                self.claimed[job["id"]] += 1
                held = {"worker_id": "w", "lease_id": job["lease_id"]}
                await self.ask(f"/jobs/{job['id']}/complete", held)
                self.completed.add(job["id"])
            await asyncio.sleep(0.02)

    async def goes_on(self):
        """Return when so much more was accepted, delivered and worked off."""
        accepted = len(self.webhooks) + STEP_JOBS
        delivered = len(self.endpoint.requests) + STEP_JOBS
        worked = len(self.completed) + STEP_JOBS

        def went():
            assert not self.wrong
            assert len(self.webhooks) >= accepted, "nothing is accepted"
            assert len(self.endpoint.requests) >= delivered, "nothing is delivered"
            assert len(self.completed) >= worked, "nothing is worked off"
            return True

        await until(went, at_most=60)


@pytest.fixture
def before(request, tmp_path):
    """The version before this one."""
    try:
        commit = predecessor(request.config.getoption("--from"))
    except Unknown as error:
        pytest.skip(f"needs the history, and a version before this one: {error}")
    return export(commit, tmp_path / "before")


@asynccontextmanager
async def loaded(doors, key, endpoint):
    """Give a load that goes on until the block ends."""
    async with aiohttp.ClientSession() as session:
        load = Load(session, doors, key, endpoint)
        going_on = [asyncio.create_task(one()) for one in (load.produce, load.labour)]
        try:
            yield load
        finally:
            for task in going_on:
                task.cancel()
            await asyncio.gather(*going_on, return_exceptions=True)


async def found_organization(door, database_url):
    """Return the key of a new organization whose plan lets it do all this."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{door}/api/v1/organizations", json={"name": "Acme", "slug": "acme"}
        ) as answer,
    ):
        made = await answer.json()
        assert answer.status == 201, made
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute("UPDATE organizations SET plan_tier = 'enterprise'")
    finally:
        await conn.close()
    return made["api_key"]["key"]


async def start(house, name, door):
    """Start one service; an ingest behind *door*."""
    ingest = name.startswith("ingest")
    port = int(door.rpartition(":")[2]) if ingest else free_port()
    await house.start(name, http_port=port, registration_mode="open")


def trouble(tmp_path):
    """Return what a person should look at in the logs."""
    return [
        (log.name, line[:2000])
        for log in tmp_path.glob("*.log")
        for line in log.read_text().splitlines()
        if '"level": "error"' in line or "Traceback" in line
    ]


@pytest.mark.timeout(600)
async def test_old_and_new_services_work_side_by_side(
    before, postgres_url, nats_url, tmp_path, endpoint
):
    async with copy_of("template0", server=postgres_url) as database_url:
        await migrate_with(before, database_url)
        doors = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
        house = Processes(doors[0], database_url, nats_url, tmp_path)
        try:
            house.spawn = partial(as_program, root=before)
            for name in FIVE:
                await start(house, name, doors[0])
            key = await found_organization(doors[0], database_url)
            async with loaded(doors, key, endpoint) as load:
                await load.goes_on()
                await migrate(database_url)
                await load.goes_on()
                house.spawn = as_program
                for name in FIVE:
                    await start(house, f"{name}#new", doors[1])
                    await load.goes_on()
                    assert await house.stop(name) == 0
                    await load.goes_on()
            await all_completed(
                database_url, [*load.webhooks, *load.completed], at_most=60
            )
            for name in FIVE:
                assert await house.stop(f"{name}#new") == 0
        finally:
            for name in list(house.running):
                await house.kill(name)
        await assert_invariants(database_url)

    assert trouble(tmp_path) == []
    came = Counter(endpoint.ids)
    assert set(load.webhooks) <= came.keys()
    assert [id_ for id_, times in came.items() if times > 1] == []
    assert [id_ for id_, times in load.claimed.items() if times > 1] == []


@pytest.mark.timeout(300)
async def test_two_of_each_restarted_one_after_the_other_lose_and_repeat_nothing(
    database_url, nats_url, tmp_path, endpoint
):
    doors = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    house = Processes(doors[0], database_url, nats_url, tmp_path)
    pods = [
        (name, door) for name in FIVE for door in zip(("", "#2"), doors, strict=True)
    ]
    drained: dict[str, float] = {}
    try:
        for name, (number, door) in pods:
            await start(house, f"{name}{number}", door)
        key = await found_organization(doors[0], database_url)
        async with loaded(doors, key, endpoint) as load:
            await load.goes_on()
            for name, (number, door) in pods:
                pod = f"{name}{number}"
                began = time.monotonic()
                assert await house.stop(pod) == 0
                drained[pod] = time.monotonic() - began
                # The other carries all meanwhile.
                await load.goes_on()
                await start(house, pod, door)
        # What was on its way to the worker when the load ended is claimed once more.
        await all_completed(database_url, [*load.webhooks, *load.completed], at_most=60)
    finally:
        for name in list(house.running):
            await house.kill(name)
    await assert_invariants(database_url)

    print({pod: round(seconds, 2) for pod, seconds in drained.items()})
    print(len(load.webhooks), "webhooks", len(load.completed), "by a worker")
    assert trouble(tmp_path) == []
    assert max(drained.values()) < 10
    came = Counter(endpoint.ids)
    assert set(load.webhooks) <= came.keys()
    assert [id_ for id_, times in came.items() if times > 1] == []
    assert [id_ for id_, times in load.claimed.items() if times > 1] == []
