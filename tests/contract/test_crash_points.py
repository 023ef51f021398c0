"""Two processes at work on the same jobs, and any dies between any two statements.

Each statement that moves jobs is run by one of two connections, which is then cut
before it could commit, or after it did and before anybody heard of it; the other may
have begun meanwhile.  After each, every job stands in one place; and whoever is left
brings all of them to their end.
"""

import asyncio
import random
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from libs.common.store import dependencies, leases, settlement, timers
from tests.support import stock
from tests.support.house import assert_invariants

HOURS = timedelta(hours=1)
STEPS = 40


class Table:
    """Two connections, what they hold, and who watches."""

    def __init__(self, url, luck, watch):
        self.url = url
        self.luck = luck
        #: Sees what is committed, and lets time pass.
        self.watch = watch
        self.hands: list[Any] = []
        self.line: Any = None
        #: All that was ever handed out: also what was lost with who had it.
        self.claimed: list[Any] = []
        self.cut = 0

    async def sit_down(self):
        self.hands = [await asyncpg.connect(self.url) for _ in range(2)]
        self.line = await stock.open_line(self.watch)

    async def rise(self):
        for conn in self.hands:
            conn.terminate()

    # --- what anybody does: each is one statement -------------------------------------

    async def create(self, conn):
        await stock.create(conn, self.line, 2)
        parent = await self.watch.fetchval(
            "SELECT job_id FROM places ORDER BY random() LIMIT 1"
        )
        if parent is not None:
            await stock.create(conn, self.line, 1, parent_id=parent)

    async def claim(self, conn):
        claimed = await stock.claim(conn, self.line, 3)
        self.claimed += claimed

    async def take_up(self, conn):
        await leases.note_taken_up(conn, lease_ids=self.some_leases())

    async def renew(self, conn):
        await leases.renew(conn, lease_ids=set(self.some_leases()), lease=HOURS)

    async def settle(self, conn):
        how = self.luck.choice(["completed", "completed", "retrying", "deadlettered"])
        some = (
            {one.job_id: one for one in self.luck.choices(self.claimed, k=3)}
            if self.claimed
            else {}
        )
        attempts = [stock.ended(one, how) for _, one in sorted(some.items())]
        if attempts:
            await settlement.settle(conn, attempts=attempts, actor="dispatcher")

    async def release(self, conn):
        await dependencies.release(conn, limit=10)

    async def promote(self, conn):
        await timers.promote_due(conn, limit=10)

    async def recover(self, conn):
        await leases.recover(conn, limit=10)

    def some_leases(self):
        known = sorted({one.lease_id for one in self.claimed})
        return self.luck.sample(known, min(2, len(known)))

    # --- how it goes ------------------------------------------------------------------

    async def step(self):
        """Let one do something while the other does, too; then one or both die."""
        first, second = self.luck.sample(self.hands, 2)
        transaction = first.transaction()
        await transaction.start()
        await self.act(first)
        # The second may have to wait for the first: it is not waited for.
        other = asyncio.create_task(self.act(second))
        await asyncio.sleep(0)
        if self.luck.random() < 0.4:
            await self.die(first)
        else:
            await transaction.commit()
        await other
        if self.luck.random() < 0.2:
            await self.die(second)
        await assert_invariants(self.url)

    async def act(self, conn):
        await self.luck.choice(
            [
                *(self.create, self.claim, self.claim, self.take_up, self.renew),
                *(self.settle, self.settle, self.release, self.promote, self.recover),
            ]
        )(conn)

    async def die(self, conn):
        """Cut a connection, and whatever it had not committed; another comes."""
        self.cut += 1
        pid = conn.get_server_pid()
        conn.terminate()
        another = await asyncpg.connect(self.url)
        self.hands[self.hands.index(conn)] = another
        while await another.fetchval(
            "SELECT true FROM pg_stat_activity WHERE pid = $1", pid
        ):
            await asyncio.sleep(0.005)

    async def let_time_pass(self):
        await self.watch.execute("UPDATE leases SET deadline = now() - interval '1 s'")
        await self.watch.execute("UPDATE scheduled SET run_at = now() - interval '1 s'")

    async def bring_to_an_end(self):
        """Let one that lives do all that is left; return where the jobs are then."""
        conn = self.hands[0]
        for _ in range(60):
            await self.let_time_pass()
            await leases.recover(conn, limit=100)
            await timers.promote_due(conn, limit=100)
            claimed = await stock.claim(conn, self.line, 100)
            attempts = sorted(map(stock.ended, claimed), key=lambda one: one.job_id)
            if attempts:
                await settlement.settle(conn, attempts=attempts, actor="dispatcher")
            while (await dependencies.release(conn, limit=100))[0]:
                pass
        await assert_invariants(self.url)
        return {
            row["place"]: row["jobs"]
            for row in await conn.fetch(
                "SELECT place::text, count(*) AS jobs FROM places GROUP BY place"
            )
        }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
async def test_whoever_dies_between_two_statements_leaves_all_jobs_to_others(
    database_url, conn, seed
):
    table = Table(database_url, random.Random(seed), conn)
    await table.sit_down()
    try:
        for number in range(STEPS):
            await table.step()
            if number % 5 == 4:
                await table.let_time_pass()
        places = await table.bring_to_an_end()
    finally:
        await table.rise()

    assert table.cut > 5
    assert places.keys() <= {"finished", "dead"}
    assert places["finished"] > 5
