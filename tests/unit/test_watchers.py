"""Watchers get what they asked for and may see, in order, once, and within bounds."""

import asyncio
import json
from uuid import UUID

import msgspec
import pytest

from libs.common import outgoing
from libs.common.errors import Forbidden
from services.streamer.feed import TooManyStreams
from services.streamer.tidings import Tiding
from services.streamer.wishes import Topic, Wish
from tests.support.audience import (
    JOB,
    MAIL,
    changed,
    feed,
    hear,
    live,
    marks,
    resource,
    taken,
    watcher,
)

# --- what they get -----------------------------------------------------------------


async def test_events_are_taken_in_order_and_once():
    house, one = feed(), watcher()
    with live(house, one):
        hear(house, *(changed(number=number) for number in (1, 2, 3)))

        assert await marks(house, one) == ["700-1", "700-2", "700-3"]
        assert await marks(house, one) == []


async def test_who_has_not_joined_is_told_nothing():
    house, one = feed(), watcher()
    with house.watching(one):
        hear(house, changed())

        assert await taken(house, one) == []


@pytest.mark.parametrize(
    ("wish", "frames"),
    [
        (Wish(), 2),
        (Wish(topics=MAIL), 2),
        (Wish(topics=frozenset({Topic("letters")})), 0),
        (Wish(topics=frozenset({Topic(None, JOB)})), 2),
        (Wish(topics=frozenset({Topic(None, "another")})), 0),
        (Wish(topics=frozenset({Topic("mail", JOB)})), 2),
        (Wish(topics=frozenset({Topic("letters", JOB)})), 0),
        (Wish(topics=frozenset({Topic("letters"), Topic("mail")})), 2),
        (Wish(topics=frozenset({Topic("letters"), Topic()})), 2),
        (Wish(names=frozenset({"job.completed"})), 1),
        (Wish(names=frozenset({"JobCompleted"})), 1),
        (Wish(names=frozenset({"job.created"})), 0),
        (Wish(topics=MAIL, names=frozenset({"job.status"})), 1),
        (Wish(tag="vip"), 2),
        (Wish(tag="region"), 0),
    ],
)
async def test_a_watcher_gets_what_it_asked_for(wish, frames):
    house, one = feed(), watcher(wish)
    with live(house, one):
        hear(house, changed("completed", tags=msgspec.Raw(b'["vip"]')))

        assert len(await taken(house, one)) == frames


@pytest.mark.parametrize(
    ("wish", "frames"),
    [
        (Wish(), 0),
        (Wish(topics=frozenset({Topic(outgoing.QUEUE)})), 2),
        (Wish(topics=frozenset({Topic(None, JOB)})), 2),
    ],
)
async def test_what_tells_of_jobs_is_shown_to_who_asks_for_it(wish, frames):
    house, one = feed(), watcher(wish)
    with live(house, one):
        hear(house, changed("completed", queue_name=outgoing.QUEUE))

        assert len(await taken(house, one)) == frames


async def test_a_scoped_key_sees_its_queues_only():
    house, one = feed(), watcher(None, "letters", "parcels")
    with live(house, one):
        hear(house, changed(number=1), changed(number=2, queue_name="parcels"))

        assert await marks(house, one) == ["700-2"]


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (resource("worker.registered", "letters"), True),
        (resource("worker.registered", "mail"), False),
        (resource("worker.deregistered", "letters"), False),
        (resource("worker.heartbeat", "letters"), False),
        (resource("queue.paused", "letters"), True),
        (resource("queue.paused", "mail"), False),
        (resource("workflow.completed"), False),
        (resource("endpoint.disabled"), False),
    ],
)
async def test_of_what_is_no_job_a_scoped_key_sees_what_is_of_its_queues(event, seen):
    house, scoped, whole = feed(), watcher(None, "letters"), watcher()
    with live(house, scoped), live(house, whole):
        hear(house, event)

        assert len(await taken(house, scoped)) == seen
        assert len(await taken(house, whole)) == 1


# --- subscriptions -----------------------------------------------------------------


def told(one, **more):
    return len(one.told(Tiding(changed(**more))))


def test_subscriptions_are_all_of_them_together():
    one = watcher()
    assert told(one, queue_name="a") == told(one, queue_name="b") == 1

    one.widen(Topic("a"))
    assert (told(one, queue_name="a"), told(one, queue_name="b")) == (1, 0)
    one.widen(Topic(None, JOB))
    assert told(one, queue_name="b") == 1
    assert told(one, queue_name="b", job_id="other") == 0
    one.widen(Topic())
    assert told(one, queue_name="b", job_id="other") == 1
    one.narrow(Topic())
    one.narrow(Topic(None, JOB))
    assert (told(one, queue_name="a"), told(one, queue_name="b")) == (1, 0)
    one.narrow(Topic("a"))
    assert told(one, queue_name="b") == 1


def test_subscriptions_are_limited_in_scope_and_number():
    scoped = watcher(None, "a")
    with pytest.raises(Forbidden):
        scoped.widen(Topic("b"))
    for number in range(100):
        scoped.widen(Topic("a", str(number)))
    with pytest.raises(Forbidden):
        scoped.widen(Topic("a"))


# --- coming back -------------------------------------------------------------------


async def test_who_comes_back_soon_is_told_from_memory_and_joins_there():
    house, one = feed(), watcher()
    with house.watching(one):
        hear(house, *(changed(number=number) for number in range(1, 6)))

        found = house.since(one, (700, 2), at_most=2)
        assert [tiding.position for tiding in found] == [(700, 3), (700, 4)]
        assert one.live_after is None
        [last] = house.since(one, (700, 4), at_most=2)
        hear(house, changed(number=6))

        assert last.position == (700, 5)
        assert await marks(house, one) == ["700-6"]


async def test_who_is_ahead_of_the_stream_is_told_nothing_twice():
    house, one = feed(), watcher()
    with house.watching(one):
        assert house.since(one, (700, 8), at_most=2) == []
        hear(house, *(changed(number=number) for number in range(7, 10)))

        assert await marks(house, one) == ["700-9"]


def test_memory_is_bounded_and_says_what_it_forgot():
    size = len(changed(number=10).encode())
    house, one = feed(recent_bytes_max=3 * size), watcher()
    hear(house, *(changed(number=number) for number in range(10, 20)))

    with house.watching(one):
        assert house.since(one, (700, 15), at_most=9) is None
        found = house.since(one, (700, 16), at_most=9)
    assert [tiding.position for tiding in found] == [(700, 17), (700, 18), (700, 19)]


def test_memory_is_of_one_organization():
    house, one = feed(), watcher()
    hear(house, changed(number=1), changed(number=2, organization_id=str(UUID(int=2))))

    with house.watching(one):
        assert house.since(one, (700, 1), at_most=9) == []


async def test_time_ends_a_stream_and_so_does_whoever_leaves():
    timely, gone = watcher(), watcher()
    async with timely.presence(seconds_max=0.01):
        await asyncio.sleep(5)
    async with gone.presence(seconds_max=None):
        raise ConnectionResetError

    assert (timely.ended_because, gone.ended_because) == ("lifetime", "left")


async def test_streams_are_limited_by_organization_and_in_all():
    house = feed(per_organization_max=1, streams_max=3)
    second = watcher(organization_id=UUID(int=2))
    third = watcher(organization_id=UUID(int=3))
    with house.watching(watcher()):
        with pytest.raises(TooManyStreams), house.watching(watcher()):
            pass
        with (
            house.watching(watcher(door="websocket")),
            house.watching(second),
            pytest.raises(TooManyStreams),
            house.watching(third),
        ):
            pass
    with house.watching(watcher()), house.watching(third):
        assert house.is_watched
    assert not house.is_watched


def test_a_frame_is_json_that_a_client_reads():
    [frame] = Tiding(changed()).frames

    assert set(json.loads(frame.body)) == {"type", "data"}
