"""Whatever dies, every committed event is told: complete, in order, under one id."""

import asyncio
import random
from collections import Counter, defaultdict
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from libs.cli.embedded.ports import free_port
from tests.support.followers import (
    EventStreamFollower,
    SocketFollower,
    Subscriber,
    position_of,
    told_of,
)
from tests.support.house import all_completed, assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until
from tests.system.test_faults import offer

SEED = 20260301
SECONDS = 30
#: A machine of two cores takes its time to start a process.
DOWN_MAX = 3
VICTIMS = ["ingest", "dispatcher", "scheduler", "streamer", "streamer#2"]


async def rage(house, nats_server, luck, ports):
    """Kill one after another, in a new order each time, and NATS once.

    It ends after some time, when everybody has died.  Return who did.
    """
    died: list[str] = []
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + SECONDS
    next_ones = [*luck.sample(VICTIMS, len(VICTIMS)), "nats"]
    rising: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        while loop.time() < ends_at or next_ones:
            await asyncio.sleep(luck.uniform(0.5, 1.5))
            next_ones = next_ones or luck.sample(VICTIMS, len(VICTIMS))
            down = [name for name, task in rising.items() if not task.done()]
            if len(down) == DOWN_MAX or next_ones[0] in down:
                continue
            victim = next_ones.pop(0)
            died.append(victim)
            if victim == "nats":
                await nats_server.kill()
                await asyncio.sleep(1)
                await nats_server.start()
                continue
            await house.kill(victim)
            start = house.start(victim, **ports.get(victim, {}))
            rising[victim] = group.create_task(start)
            if loop.time() > ends_at and {*died} == {*VICTIMS, "nats"}:
                next_ones = []
    return died


async def offer_while(raging, api, endpoint):
    """Create jobs for as long as it lasts; return what was accepted, and refused."""
    accepted: list[str] = []
    refused: Counter[object] = Counter()
    while not raging.done():
        some, others = await offer(api, endpoint, seconds=2, rate=20)
        accepted += some
        refused += others
    return accepted, refused


def assert_complete(follower, expected):
    """Nothing missing, nothing twice, and in order for each job."""
    assert follower.lost == []
    marks = [mark for mark, _, _ in follower.frames]
    missing = expected.keys() - {position_of(mark) for mark in marks}
    assert not missing, (
        f"{len(missing)} of {len(expected)} missing: {list(missing)[:5]}"
    )
    twice = len(marks) - len(set(marks))
    assert twice == 0, f"{twice} twice"
    by_job = defaultdict(list)
    for mark, _, data in follower.frames:
        if "job_id" in data:
            by_job[data["job_id"]].append(position_of(mark)[1])
    for numbers in by_job.values():
        # The numbers are drawn when a transition happens.
        assert all(before <= after for before, after in pairwise(numbers)), numbers


async def all_seen(followers, subscriber, expected, at_most):
    async def seen():
        for follower in followers:
            got = {position_of(mark) for mark, _, _ in follower.frames}
            assert expected.keys() <= got, len(expected.keys() - got)
        got = {body["id"] for _, body in subscriber.events}
        assert {str(seq) for _, seq in expected} <= got
        return True

    await until(seen, at_most=at_most)


@pytest.mark.timeout(600)
async def test_no_death_hides_an_event_or_disorders_a_job(
    database_url, nats_url, nats_server, tmp_path, tenant, endpoint
):
    luck = random.Random(SEED)
    ports = {name: {"http_port": free_port()} for name in VICTIMS if "streamer" in name}
    endpoint.answers = [luck.choice([200, 200, 200, 500]) for _ in range(2_000)]
    async with run_processes(database_url, nats_url, logs=tmp_path) as house:
        for name, knobs in ports.items():
            await house.start(name, **knobs)
        # Another ingest, that nobody kills: there is always something to tell of.
        spare = SimpleNamespace(base_url=f"http://127.0.0.1:{free_port()}")
        await house.start("ingest#2", http_port=spare.base_url.rpartition(":")[2])
        urls = [f"http://127.0.0.1:{knobs['http_port']}" for knobs in ports.values()]
        conn = await asyncpg.connect(database_url)
        sse = EventStreamFollower(urls, tenant.api_key, random.Random(SEED + 1))
        socket = SocketFollower(urls, tenant.api_key, random.Random(SEED + 2))
        subscriber = Subscriber(nats_url, str(tenant.id))
        following = [
            asyncio.create_task(one.follow()) for one in (sse, socket, subscriber)
        ]
        await until(lambda: sse.last and socket.last)
        try:
            async with open_api(house, tenant) as api, open_api(spare, tenant) as other:
                raging = asyncio.create_task(rage(house, nats_server, luck, ports))
                (one, refused), (two, _) = await asyncio.gather(
                    offer_while(raging, api, endpoint),
                    offer_while(raging, other, endpoint),
                )
                died = await raging
            accepted = [*one, *two]
            await all_completed(database_url, accepted, at_most=90)
            expected = await told_of(conn, tenant.id)
            await all_seen([sse, socket], subscriber, expected, at_most=40)
        finally:
            for task in following:
                task.cancel()
            outcomes = await asyncio.gather(*following, return_exceptions=True)
            await conn.close()
    assert all(isinstance(one, asyncio.CancelledError) for one in outcomes), outcomes
    print(
        f"\n{Counter(died)}, {len(accepted)} jobs accepted, {refused} refused,"
        f" {len(expected)} events; {sse.connections} event streams, "
        f"{socket.connections} sockets"
    )
    # All of it would prove little if nothing had died, or nothing had happened.
    assert set(died) == {*VICTIMS, "nats"}
    assert len(expected) > 200
    assert_complete(sse, expected)
    assert_complete(socket, expected)
    bodies: dict[str, dict[str, Any]] = {}
    for id_, body in subscriber.events:
        assert id_ == body["id"]
        # Said twice is said the same, under the same id.
        assert bodies.setdefault(id_, body) == body
    await assert_invariants(database_url)
