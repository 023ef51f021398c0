"""A watcher that comes back is told what it missed: all of it, once, in order."""

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from libs.common import streams
from libs.common.cloud_events import message
from libs.common.events import words_of
from libs.common.messages import EVENTS
from libs.common.positions import read_position
from libs.common.store import announcing, missed, settlement
from libs.common.store.journal import Position
from tests.support import stock
from tests.support.house import run_house
from tests.support.waiting import until
from tests.support.watching import open_gallery, tenant

JOBS = "job.created,job.status,job.completed,job.failed"
#: Nothing is remembered: all that was missed is read from the tables.
FORGETFUL = {"recent_bytes_max": 0}


@pytest.fixture
async def acme(conn):
    return await tenant(conn, "acme")


@asynccontextmanager
async def house(database_url, nats_url, **knobs):
    """A streamer, and a scheduler that announces what is committed."""
    async with (
        run_house(database_url, nats_url, services=("scheduler",)),
        open_gallery(database_url, nats_url, **knobs) as gallery,
    ):
        yield gallery


async def work(conn, line, jobs=3):
    """Let jobs live their lives: created, started, completed, or tried again."""
    created = await stock.create(conn, line, jobs)
    for number, claimed in enumerate(await stock.claim(conn, line, jobs)):
        ended = (
            stock.ended(claimed, "retrying", delay_seconds=600.0)
            if number % 2
            else stock.ended(claimed)
        )
        await settlement.settle(conn, attempts=[ended], actor="pod")
    return created


async def total(conn, organization_id):
    """How many transitions and notices an organization has."""
    return await conn.fetchval(
        "SELECT (SELECT count(*) FROM journal JOIN lanes ON lanes.id = lane_id"
        " WHERE organization_id = $1)"
        " + (SELECT count(*) FROM notices WHERE organization_id = $1)",
        organization_id,
    )


def seen(events):
    """What of a stream must be the same whenever and wherever it is read."""
    return [
        (mark, kind, json.dumps(data, sort_keys=True)) for mark, kind, data in events
    ]


async def whole(gallery, acme, conn, line):
    """Watch some jobs live; return where it began, and all frames."""
    async with gallery.stream(acme, queue="mail") as stream:
        await work(conn, line)
        # created 3, started 3, and two frames for each of the ends
        return stream.start, seen(await stream.events(3 + 3 + 6))


@pytest.mark.parametrize("knobs", [{}, FORGETFUL], ids=["memory", "tables"])
async def test_whoever_stopped_at_any_frame_gets_exactly_the_rest(
    database_url, nats_url, conn, acme, knobs
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    other = await stock.open_line(conn)
    await work(conn, other)
    async with house(database_url, nats_url, **knobs) as gallery:
        start, frames = await whole(gallery, acme, conn, line)
        await work(conn, other)
        marks = [start, *(mark for mark, _, _ in frames)]
        assert len(set(marks)) == len(marks)

        for count, mark in enumerate(marks):
            async with gallery.stream(acme, queue="mail", last=mark) as stream:
                assert stream.start is None
                rest = seen(await stream.events(len(frames) - count))
            assert rest == frames[count:], mark


@pytest.mark.parametrize("knobs", [{}, FORGETFUL], ids=["memory", "tables"])
async def test_marks_mean_the_same_at_every_streamer_and_after_a_restart(
    database_url, nats_url, conn, acme, knobs
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with house(database_url, nats_url) as gallery:
        _, frames = await whole(gallery, acme, conn, line)
    async with (
        open_gallery(database_url, nats_url, **knobs) as another,
        another.stream(acme, queue="mail", last=frames[4][0]) as stream,
    ):
        assert seen(await stream.events(len(frames) - 5)) == frames[5:]


async def test_who_was_away_passes_over_what_others_did_and_misses_nothing(
    database_url, nats_url, conn, acme, monkeypatch
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    other = await stock.open_line(conn)
    monkeypatch.setattr(missed, "_SCAN_MAX", 20)
    read, asked = missed.read_page, []

    async def counting(*arguments, **more):
        asked.append(1)
        return await read(*arguments, **more)

    monkeypatch.setattr(missed, "read_page", counting)
    async with house(database_url, nats_url, **FORGETFUL) as gallery:
        start, frames = await whole(gallery, acme, conn, line)
        for _ in range(2):
            for _ in range(3):
                await stock.create(conn, other, 200)
                await stock.a_stretch_later(conn)
            await work(conn, line)

        async def is_announced():
            return not await conn.fetchval(
                "SELECT count(*) FROM journal"
                " WHERE (xid, seq) > (SELECT xid, seq FROM announced)"
            )

        await until(is_announced)
        async with gallery.stream(acme, last=start, events=JOBS) as stream:
            told = seen(await stream.events(3 * len(frames)))

    assert told[: len(frames)] == frames
    assert len({mark for mark, _, _ in told}) == len(told)
    # It would be sixty and more, had all been looked through.
    assert len(asked) < 40


async def test_a_stream_may_begin_at_a_moment_of_the_past(
    database_url, nats_url, conn, acme
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with house(database_url, nats_url) as gallery:
        await whole(gallery, acme, conn, line)
        await asyncio.sleep(0.05)
        moment = datetime.now(UTC)
        await asyncio.sleep(0.05)
        _, frames = await whole(gallery, acme, conn, line)
        for text in (moment.isoformat(), moment.isoformat().replace("+00:00", "Z")):
            async with gallery.stream(acme, queue="mail", since=text) as stream:
                assert seen(await stream.events(len(frames))) == frames
        # Who connects again by itself says so, and that counts.
        async with gallery.stream(
            acme, queue="mail", since=moment.isoformat(), last=frames[5][0]
        ) as stream:
            assert seen(await stream.events(len(frames) - 6)) == frames[6:]


async def test_a_mark_may_stand_in_the_query(database_url, nats_url, conn, acme):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with house(database_url, nats_url) as gallery:
        _, frames = await whole(gallery, acme, conn, line)
        async with gallery.stream(acme, queue="mail", since=frames[3][0]) as stream:
            assert seen(await stream.events(len(frames) - 4)) == frames[4:]


async def test_what_was_missed_is_filtered_like_the_stream(
    database_url, nats_url, conn, acme
):
    mine = {"organization_id": acme.organization_id}
    line = await stock.open_line(conn, **mine)
    letters = await stock.open_line(conn, queue_name="letters", **mine)
    async with house(database_url, nats_url, **FORGETFUL) as gallery:
        async with gallery.stream(acme) as stream:
            start = stream.start
        await work(conn, line)
        [tagged] = await stock.create(conn, letters, tags='["vip"]')
        for query in ({"queue": "letters"}, {"tag": "vip"}, {"job_id": str(tagged)}):
            async with gallery.stream(acme, last=start, **query) as stream:
                _, kind, data = await stream.event()
            assert (kind, data["job_id"]) == ("JobCreated", str(tagged))
        async with gallery.stream(acme, last=start, events="job.failed") as stream:
            assert (await stream.event())[1] == "JobFailed"


@pytest.mark.parametrize(
    "last", ["17", "nonsense", "999999999999999-1", "1-1.0", "9" * 40 + "-1"]
)
async def test_a_mark_that_is_none_of_ours_is_told_and_the_stream_goes_on(
    database_url, nats_url, conn, acme, last
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with (
        house(database_url, nats_url) as gallery,
        gallery.stream(acme, queue="mail", last=last) as stream,
    ):
        _, kind, data = await stream.event()
        assert (kind, data["since"]) == ("EventsLost", last[:100])
        await stock.create(conn, line)
        assert (await stream.event())[1] == "JobCreated"


async def test_what_is_too_long_ago_is_told_as_lost(database_url, nats_url, conn, acme):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with house(database_url, nats_url) as gallery:
        start, _ = await whole(gallery, acme, conn, line)
    await conn.execute("UPDATE journal SET at = at - interval '2 days'")
    async with house(database_url, nats_url, replay_days_max=1, **FORGETFUL) as gallery:
        old = (datetime.now(UTC) - timedelta(days=2)).isoformat()
        for query in ({"last": start}, {"since": old}):
            async with gallery.stream(acme, queue="mail", **query) as stream:
                assert (await stream.event())[1] == "EventsLost"


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01T00:00:00Z", "1-x"])
async def test_a_since_that_cannot_be_is_named(database_url, nats_url, acme, since):
    async with open_gallery(database_url, nats_url) as gallery:
        status, body = await gallery.refused(f"?since={since}", acme.headers)

    assert (status, body["details"][0]["field"]) == (400, "since")


@pytest.mark.parametrize("knobs", [{}, FORGETFUL], ids=["memory", "tables"])
async def test_there_is_no_seam_under_traffic(
    database_url, nats_url, conn, acme, knobs
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    luck = random.Random(7)
    read, last = [], None
    async with house(database_url, nats_url, **knobs) as gallery:
        done = asyncio.Event()

        async def produce():
            for _ in range(60):
                await work(conn, line, luck.randint(1, 3))
            done.set()

        async with gallery.stream(acme, queue="mail") as stream:
            last = stream.start
        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            while not done.is_set():
                async with gallery.stream(acme, queue="mail", last=last) as stream:
                    read += await stream.events(luck.randint(1, 25))
                last = read[-1][0]
        expected = await total(conn, acme.organization_id)
        async with gallery.stream(acme, queue="mail", last=last) as stream:
            while len({mark.partition(".")[0] for mark, _, _ in read}) < expected:
                read.append(await stream.event())

    marks = [mark for mark, _, _ in read]
    assert len(set(marks)) == len(marks)
    positions = [read_position(mark.partition(".")[0]) for mark in marks]
    assert all(before <= after for before, after in pairwise(positions))
    stored = await conn.fetch("SELECT xid::text AS xid, seq FROM journal")
    assert {(int(row["xid"]), row["seq"]) for row in stored} == set(positions)


async def test_a_wiped_nats_costs_a_watcher_nothing(
    database_url, nats_server, conn, acme
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with house(database_url, nats_server.url) as gallery:
        async with gallery.stream(acme, queue="mail") as stream:
            start = stream.start
            await work(conn, line, 1)
            frames = await stream.events(4)

            await nats_server.kill()
            nats_server.wipe()
            await work(conn, line, 1)
            await nats_server.start()

            frames += await stream.events(4)
        async with gallery.stream(acme, queue="mail", last=start) as stream:
            assert seen(await stream.events(8)) == seen(frames)


async def test_what_the_stream_lost_or_disordered_is_read_from_the_tables(
    database_url, nats_url, conn, acme
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with (
        open_gallery(database_url, nats_url) as gallery,
        gallery.stream(acme, queue="mail") as stream,
    ):
        await stock.create(conn, line, 8)
        found = await announcing.read_unannounced(
            conn, after=Position("0", 0), limit=100
        )
        said = [message(word) for word in words_of(found, after=Position("0", 0))]
        # The third and fourth come late, as after a cut; the sixth and the last never.
        for number in (0, 1, 4, 2, 3, 6):
            word = said[number]
            await streams.send(
                gallery.bus,
                EVENTS,
                word.subject,
                word.data,
                id_=f"{acme.organization_id}.{number}",
            )

        marks = [mark for mark, _, _ in await stream.events(7)]

    assert marks == [f"{one.position.xid}-{one.position.seq}" for one in found][:7]


async def test_a_ping_says_how_far_a_filtered_stream_has_come(
    database_url, nats_url, conn, acme
):
    line = await stock.open_line(conn, organization_id=acme.organization_id)
    async with (
        house(database_url, nats_url, ping_seconds=0.1) as gallery,
        gallery.stream(acme, queue="nothing") as stream,
    ):
        await stock.create(conn, line)

        async def came():
            position = await conn.fetchrow("SELECT xid::text AS xid, seq FROM journal")
            return (await stream.frame()) == {
                "": "ping",
                "id": f"{position['xid']}-{position['seq']}",
            }

        await until(came)


async def test_nothing_leads_back_who_was_told_more_elsewhere(
    database_url, nats_url, conn, acme
):
    line = await stock.open_line(
        conn, organization_id=acme.organization_id, queue_name="mail"
    )
    # Nobody announces: this streamer is behind what another has told.
    async with open_gallery(
        database_url, nats_url, system_health_seconds=0.05, ping_seconds=0.05
    ) as gallery:
        await work(conn, line)
        horizon = await missed.read_horizon(conn)
        told = f"{horizon.xid}-0"
        async with gallery.stream(acme, last=told) as stream:
            frames = [await stream.frame() for _ in range(8)]

    assert {"SystemHealth", ""} <= {
        json.loads(frame["data"])["type"] if "data" in frame else "" for frame in frames
    }
    said = {frame["id"] for frame in frames if "id" in frame}
    assert said == {told}
