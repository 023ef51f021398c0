"""Lines while several come, look and leave at once: two connections, step by step."""

import asyncio
import random
from contextlib import AsyncExitStack

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.store import interventions, invariants, lines, timers
from tests.support import stock
from tests.support.lines import called, configure, in_line, line_of, release
from tests.support.rivals import blocked, cancel, place_of, settle, undecided


@pytest.fixture
async def connect(database_url):
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def one(connect):
    return await connect()


@pytest.fixture
async def other(connect):
    return await connect()


@pytest.fixture(autouse=True)
async def everybody_is_in_turn_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.out_of_turn(conn) == []


async def end(conn, lane):
    """Carry out what is ready."""
    done = await stock.claim(conn, lane, 9)
    await settle(conn, *done)
    return [each.job_id for each in done]


async def test_who_came_first_and_was_seen_later_is_not_called_beside_another(
    conn, one, other
):
    lane = await stock.open_line(conn)
    async with undecided(one) as coming:
        [first] = await in_line(one, lane)
        [second] = await in_line(other, lane)
        await release(other)
        await coming.commit()
    assert await called(conn) == [second]

    [third] = await in_line(conn, lane)
    assert (await release(conn)).called == 0

    order = []
    while done := await end(conn, lane):
        order += done
        await release(conn)
    assert order == [second, first, third]


async def test_a_line_that_somebody_looks_at_is_left_to_them(conn, one, other):
    lane = await stock.open_line(conn)
    [first, _] = await in_line(conn, lane, 2)
    [elsewhere] = await in_line(conn, lane, line=line_of(lane, "elsewhere"))
    async with undecided(one) as looking:
        checks = await lines.look(one, limit=1)
        assert [check.key for check in checks] == ["key"]

        # Nobody waits for them, and other lines go on.
        await asyncio.wait_for(release(other), 5)
        assert await called(conn) == [elsewhere]

        assert (await lines.call(one, checks=checks)).called == 1
        assert (await asyncio.wait_for(release(other), 5)).called == 0
        await looking.commit()
    assert await called(conn) == [first, elsewhere]


async def test_what_is_noted_while_somebody_decides_is_seen_by_them_afterwards(
    conn, one, other
):
    lane = await stock.open_line(conn)
    first, second = await in_line(conn, lane, 2)
    await release(conn)
    await in_line(conn, lane)
    async with undecided(one) as looking:
        checks = await lines.look(one, limit=10)
        # It sees that there is no room, and then there is.
        assert (await lines.call(one, checks=checks)).called == 0
        assert await end(conn, lane) == [first]
        assert (await release(other)).called == 0
        await looking.commit()

    [check] = await lines.look(one, limit=10)
    assert check.id not in {each.id for each in checks}
    assert (await release(one)).called == 1
    assert await called(conn) == [second]


async def test_a_decision_sees_what_was_decided_before_it(conn, one, other):
    """The other's view of what was noted is older than the end of the first look."""
    lane = await stock.open_line(conn)
    first, *_ = await in_line(conn, lane, 3)
    async with other.transaction(isolation="read_committed"):
        assert await other.fetchval("SELECT count(*) FROM line_checks") == 1
        await release(one)
        line = line_of(lane)
        checks = [lines.Check(1, line.scope, line.key)]
        assert (await lines.call(other, checks=checks)).called == 0
    assert await called(conn) == [first]


async def test_who_dies_between_coming_and_looking_is_called_by_whoever_looks(
    conn, connect
):
    lane = await stock.open_line(conn)
    dying = await connect()
    [first] = await in_line(dying, lane)
    await dying.execute("BEGIN")
    assert len(await lines.look(dying, limit=10)) == 1
    assert (await release(conn)).called == 0
    dying.terminate()

    async with asyncio.timeout(10):
        while not (await release(conn)).called:
            await asyncio.sleep(0.02)
    assert await called(conn) == [first]


# --- who is called, and at the same moment something else -----------------------------


async def test_who_is_cancelled_when_called_ends_and_the_next_is_called(
    conn, one, other
):
    lane = await stock.open_line(conn)
    first, second = await in_line(conn, lane, 2)
    async with undecided(one) as cancelling:
        assert await cancel(one, lane, first)
        look = await blocked(conn, release(other))
        await cancelling.commit()

    assert (await look).called == 1
    assert await place_of(conn, first) == "finished"
    assert await called(conn) == [second]


async def test_who_is_called_when_cancelled_is_ready_and_can_be_cancelled_there(
    conn, one, other
):
    lane = await stock.open_line(conn)
    first, second = await in_line(conn, lane, 2)
    async with undecided(one) as looking:
        checks = await lines.look(one, limit=10)
        await lines.call(one, checks=checks)
        cancelling = await blocked(conn, cancel(other, lane, first))
        await looking.commit()

    # As the API does, it looks twice.
    assert await cancelling or await cancel(other, lane, first)
    await release(conn)
    assert await called(conn) == [second]


async def test_who_gets_another_priority_when_called_keeps_both(conn, one, other):
    lane = await stock.open_line(conn)
    [first] = await in_line(conn, lane)
    async with undecided(one) as changing:
        await interventions.reprioritize(
            one,
            organization_id=lane.organization_id,
            job_id=first,
            priority=70,
            actor="key",
        )
        look = await blocked(conn, release(other))
        await changing.commit()

    assert (await look).called == 1
    assert await conn.fetchval("SELECT rank FROM ready") == 30


# --- everything at once ---------------------------------------------------------------


class Crowd:
    """Those who come, work, look and cancel until nothing is left."""

    def __init__(self, lane, luck):
        self.lane = lane
        self.luck = luck
        self.over = asyncio.Event()
        #: The jobs of each line, in the order of their coming.
        self.came = {}

    async def come(self, rival, keys):
        """Nobody else comes to these lines."""
        for _ in range(40):
            line = self.luck.choice(keys)
            ids = await in_line(rival, self.lane, self.luck.randint(1, 3), line=line)
            self.came.setdefault(line, []).extend(ids)
            if self.luck.random() < 0.7:
                await release(rival)

    async def work(self, rival):
        while not self.over.is_set():
            for each in await stock.claim(rival, self.lane, self.luck.randint(1, 4)):
                hows = ["completed", "completed", "retrying", "released"]
                await settle(rival, each, how=self.luck.choice(hows))
                if self.luck.random() < 0.7:
                    await release(rival)
            await rival.execute("UPDATE scheduled SET run_at = now()")
            await timers.promote_due(rival, limit=9)

    async def interfere(self, rival):
        while not self.over.is_set():
            ids = [id_ for ids in self.came.values() for id_ in ids]
            if ids and self.luck.random() < 0.3:
                await cancel(rival, self.lane, self.luck.choice(ids))
            await release(rival, limit=self.luck.choice([1, 100]))
            # At every moment.
            assert await invariants.out_of_turn(rival) == []

    async def finish(self, rival):
        async with asyncio.timeout(60):
            while await rival.fetchval("SELECT count(*) FROM lines"):
                await asyncio.sleep(0.02)
        self.over.set()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_once_nobody_runs_out_of_turn(conn, connect, seed):
    lane = await stock.open_line(conn)
    await configure(conn, lane, '{"concurrency_per_key": 2}')
    crowd = Crowd(lane, random.Random(seed))
    wide = [line_of(lane, f"key {number}") for number in range(4)]
    narrow = [lines.Line.of_endpoint(lane.organization_id, key) for key in "abcd"]

    rivals = [await connect() for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        for rival in rivals[:2]:
            group.create_task(crowd.interfere(rival))
        for rival in rivals[2:5]:
            group.create_task(crowd.work(rival))
        await asyncio.gather(
            crowd.come(rivals[5], wide[:2] + narrow[:2]),
            crowd.come(rivals[6], wide[2:] + narrow[2:]),
        )
        await crowd.finish(rivals[7])

    assert (await release(conn)).called == 0
    assert await conn.fetchval("SELECT count(*) FROM line_checks") == 0
    begun = [
        row["job_id"]
        for row in await conn.fetch(
            "SELECT job_id FROM journal WHERE transition = 'started'"
            " GROUP BY job_id ORDER BY min(seq)"
        )
    ]
    assert len(begun) > len(crowd.came)
    for line in narrow:
        ids = crowd.came[line]
        assert [id_ for id_ in begun if id_ in ids] == [
            id_ for id_ in ids if id_ in begun
        ]
