"""Every transition is counted once, and the figures are exact whoever looks when."""

import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import announcing, journal, settlement, tallies
from libs.common.store.announcing import Transitioned
from libs.common.store.tallies import Credit, Tally
from services.scheduler.tallies import summed
from tests.support import stock

DAY = timedelta(days=1)
START = journal.Position("0", 0)
OWNER = new_id()


@pytest.fixture
async def line(conn):
    return await stock.open_line(conn, push=False)


@pytest.fixture
async def other(database_url):
    """Somebody else's connection, with the settings of the services."""
    connection = await asyncpg.connect(
        database_url, server_settings={"jit": "off", **BY_KEY}
    )
    yield connection
    await connection.close()


class Announcer:
    """What an announcer does, a step at a time."""

    def __init__(self, conn):
        self.conn = conn
        self.position: journal.Position | None = None
        self.entries: list[journal.Entry] = []

    async def read(self, limit=1000):
        if self.position is None:
            self.position = await journal.read_announced(self.conn)
        found = await announcing.read_unannounced(
            self.conn, after=self.position, limit=limit
        )
        self.entries = [one.entry for one in found if isinstance(one, Transitioned)]

    async def count(self):
        if not self.entries or self.position is None:
            return None
        counted, credits_ = summed(self.entries)
        upto = self.entries[-1].position
        moved = await tallies.count_announced(
            self.conn,
            before=self.position,
            upto=upto,
            tallies=counted,
            credits_=credits_,
            happened=[],
        )
        self.position, self.entries = upto if moved else None, []
        return moved


async def recounted(conn, line):
    """Return the same figures from the tables and the journal themselves."""
    rows = await conn.fetch("SELECT transition::text, count(*) FROM journal GROUP BY 1")
    told = {row["transition"]: row["count"] for row in rows}
    counts = {
        f"{place}_jobs": await conn.fetchval(
            f"SELECT count(*) FROM {place} WHERE lane_id = $1", line.id
        )
        for place in ("ready", "waiting", "held", "leased", "dead")
    }
    return counts | {
        "retrying_jobs": await conn.fetchval("SELECT count(*) FROM scheduled"),
        "completed_jobs": told.get("completed", 0),
        "cancelled_jobs": told.get("cancelled", 0),
        "completed_24h": told.get("completed", 0),
        "completed_1h": told.get("completed", 0),
        "failed_24h": told.get("deadlettered", 0),
        "created_1h": told.get("created", 0),
        "started_24h": told.get("started", 0),
    }


async def assert_exact(conn, line):
    figures = await tallies.of_organization(conn, organization_id=line.organization_id)
    expected = await recounted(conn, line)
    assert {name: getattr(figures, name) for name in expected} == expected
    return figures


async def work(conn, line, luck):
    """Create, claim, complete and fail a few jobs."""
    await stock.create(conn, line, luck.randint(1, 4))
    for claimed in await stock.claim_work(conn, line, luck.randint(1, 4)):
        how = luck.choice(["completed", "completed", "retrying", "deadlettered"])
        await settlement.settle(
            conn, attempts=[stock.worked(line, claimed, how)], actor="worker"
        )


@pytest.mark.parametrize("seed", range(4))
async def test_figures_are_exact_whoever_announces_how_far(conn, line, other, seed):
    """Two announcers overlap and lag; who lost its turn counts nothing."""
    luck = random.Random(seed)
    announcers = [Announcer(conn), Announcer(other)]
    moved = []
    for _ in range(60):
        match luck.choice(["work", "read", "read", "count", "count", "forget"]):
            case "work":
                await work(conn, line, luck)
            case "read":
                await luck.choice(announcers).read(luck.randint(1, 9))
            case "count":
                moved.append(await luck.choice(announcers).count())
            case "forget":
                # It died, and another took its place.
                announcers[0] = Announcer(conn)
        await assert_exact(other, line)
    for announcer in announcers:
        await announcer.read()
        await announcer.count()
        await announcer.read()
        await announcer.count()

    await assert_exact(conn, line)
    counted = await conn.fetch(
        "SELECT transition::text, jobs FROM tallies WHERE bucket = '-infinity'"
    )
    told = await conn.fetch("SELECT transition::text, count(*) FROM journal GROUP BY 1")
    assert {row["transition"]: row["jobs"] for row in counted} == {
        row["transition"]: row["count"] for row in told
    }
    assert True in moved


async def test_a_stale_announcer_counts_nothing(conn, line, other):
    await stock.create(conn, line, 3)
    first, second = Announcer(conn), Announcer(other)
    await first.read()
    await second.read(limit=2)

    assert await first.count() is True
    assert await second.count() is False
    assert (await assert_exact(conn, line)).created_1h == 3


async def test_averages_come_from_what_the_transitions_say(conn, line):
    await stock.create(conn, line, 2)
    for claimed in await stock.claim_work(conn, line, 2):
        done = stock.worked(line, claimed)
        await settlement.settle(conn, attempts=[done], actor="worker")
    details = await conn.fetch(
        "SELECT transition, (details ->> 'duration_ms')::float AS duration,"
        "       (details ->> 'waited_ms')::float AS waited FROM journal"
    )
    durations = [row["duration"] for row in details if row["duration"] is not None]
    waits = [row["waited"] for row in details if row["waited"] is not None]
    assert (len(durations), len(waits)) == (2, 2)

    for announced in (False, True):
        if announced:
            announcer = Announcer(conn)
            await announcer.read()
            assert await announcer.count()
        figures = await assert_exact(conn, line)
        assert figures.processing_ms == pytest.approx(sum(durations) / 2, abs=0.01)
        assert figures.waiting_ms == pytest.approx(sum(waits) / 2, abs=0.01)


async def test_the_longest_wait_is_of_the_job_that_is_ready_longest(conn, line):
    assert (await assert_exact(conn, line)).oldest_ready_ms(datetime.now(UTC)) is None
    await stock.create(conn, line)
    await conn.execute("UPDATE ready SET ready_at = now() - interval '1 hour'")
    await stock.create(conn, line)

    figures = await assert_exact(conn, line)

    age_ms = figures.oldest_ready_ms(datetime.now(UTC))
    assert age_ms == pytest.approx(3_600_000, abs=60_000)


async def test_each_queue_and_everything_have_the_figures_of_their_lanes(conn, line):
    sms = await stock.open_line(
        conn, organization_id=line.organization_id, queue_name="sms"
    )
    stranger = await stock.open_line(conn)
    await stock.create(conn, line, 1)
    await stock.create(conn, sms, 2)
    await stock.create(conn, stranger, 4)

    by_queue = await tallies.of_queues(
        conn,
        organization_id=line.organization_id,
        queue_names=["mail", "sms", "none"],
    )

    assert {name: one.pending for name, one in by_queue.items()} == {
        "mail": 1,
        "sms": 2,
        "none": 0,
    }
    everything = await tallies.of_everything(conn)
    assert (everything.pending, everything.created_1h) == (7, 7)
    one = await tallies.of_organization(
        conn, organization_id=line.organization_id, queue_names=["sms"]
    )
    assert (one.pending, one.total) == (2, 2)


async def test_old_tallies_become_days_and_nothing_is_lost(conn, line):
    now = datetime.now(UTC)
    midnight = (now - 5 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    buckets = [midnight + timedelta(minutes=5 * n) for n in (0, 1, 100, 287)]
    buckets += [midnight + DAY + timedelta(minutes=5), now.replace(minute=5, second=0)]
    await stock.create(conn, line)
    announcer = Announcer(conn)
    await announcer.read()
    assert await tallies.count_announced(
        conn,
        before=START,
        upto=announcer.entries[-1].position,
        tallies=[
            Tally(line.id, bucket, "completed", n, 10.0 * n, 0.0)
            for n, bucket in enumerate(buckets, 1)
        ],
        credits_=[],
        happened=[],
    )

    async def kept():
        rows = await conn.fetch(
            "SELECT bucket, jobs, duration_ms FROM tallies"
            " WHERE bucket > '-infinity' ORDER BY bucket"
        )
        return [tuple(row) for row in rows]

    before = await kept()
    assert await tallies.fold(conn, age=2 * DAY, limit=2) == 2
    assert await tallies.fold(conn, age=2 * DAY, limit=100) == 2
    assert await tallies.fold(conn, age=2 * DAY, limit=100) == 0

    after = await kept()
    assert after == [
        (midnight, 1 + 2 + 3 + 4, 100.0),
        (midnight + DAY, 5, 50.0),
        before[-1],
    ]
    figures = await tallies.of_organization(conn, organization_id=line.organization_id)
    assert figures.completed_jobs == 21
    # At what is announced late old tallies are made anew, and fold again.
    assert figures.completed_24h in (0, 6)


def test_a_worker_is_credited_with_what_it_reported():
    def entry(transition, *, details, actor="w", push=False):
        return journal.Entry(
            seq=1,
            xid="1",
            job_id=OWNER,
            organization_id=OWNER,
            queue_name="mail",
            transition=transition,
            rank=100,
            attempt=1,
            at=datetime(2026, 1, 2, 3, 44, 59, tzinfo=UTC),
            actor=actor,
            details=details,
            lane_id=7,
            push=push,
        )

    timed = '{"duration_ms": 1.5, "reason": "x"}'
    counted, credits_ = summed(
        [
            entry("created", details=None, actor=None),
            entry("started", details='{"waited_ms": 2.5}'),
            entry("completed", details=timed),
            entry("retrying", details=timed),
            entry("deadlettered", details=timed),
            # Its lease ran out: it reported nothing.
            entry("deadlettered", details='{"retry_count": 3}'),
            entry("completed", details=timed, actor="pod", push=True),
        ]
    )

    assert credits_ == [Credit("w", OWNER, 1, 2)]
    bucket = datetime(2026, 1, 2, 3, 40, tzinfo=UTC)
    assert sorted(counted) == [
        (7, bucket, "completed", 2, 3.0, 0.0),
        (7, bucket, "created", 1, 0.0, 0.0),
        (7, bucket, "deadlettered", 2, 1.5, 0.0),
        (7, bucket, "retrying", 1, 1.5, 0.0),
        (7, bucket, "started", 1, 0.0, 2.5),
    ]
