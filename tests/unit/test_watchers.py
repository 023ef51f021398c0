"""Watchers get what they asked for and may see, in order, once, and within bounds."""

import asyncio
import json
from uuid import UUID

import msgspec
import pytest

from libs.common import outgoing
from libs.common.access import Principal
from libs.common.errors import Forbidden
from libs.common.messages import JobChanged, ResourceChanged
from libs.common.plans import plan_of
from services.streamer.feed import Feed, TooManyStreams
from services.streamer.tidings import Tiding
from services.streamer.watcher import Watcher
from services.streamer.wishes import Topic, Wish

ORGANIZATION = UUID("0191d0a0-0000-7000-8000-000000000001")
JOB = "0191d0a0-0000-7000-8000-0000000000aa"
MAIL = frozenset({Topic("mail")})


def changed(transition="started", number=17, **more):
    return JobChanged(
        **{
            "id": str(number),
            "position": f"700-{number}",
            "type": f"job.{transition}",
            "time": "2026-01-02T03:04:05.678Z",
            "organization_id": str(ORGANIZATION),
            "queue_name": "mail",
            "job_id": JOB,
            "attempt": 1,
            **more,
        }
    )


def resource(type_, queue_name=None):
    return ResourceChanged(
        id="18",
        position="700-18",
        type=type_,
        time="2026-01-02T03:04:05.678Z",
        organization_id=str(ORGANIZATION),
        resource=type_.split(".")[0],
        resource_id="x",
        queue_name=queue_name,
    )


def principal(*queues, organization_id=ORGANIZATION):
    return Principal(
        organization_id=organization_id,
        api_key_id=UUID(int=1),
        queues=queues,
        plan=plan_of("free"),
    )


def watcher(wish=None, *queues, bytes_max=100_000, door="sse", **more):
    return Watcher(
        principal(*queues, **more),
        wish or Wish(),
        door=door,
        credential="sk_live_x",
        bytes_max=bytes_max,
    )


def feed(**limits):
    house = Feed(
        **{
            "per_organization_max": 3,
            "streams_max": 5,
            "recent_bytes_max": 100_000,
            **limits,
        }
    )
    house.begin((700, 0))
    return house


def hear(house, *events):
    for event in events:
        house.hear(event, event.encode())


def live(house, one):
    house.join(one)
    return one


async def taken(one):
    return await one.take(at_most_seconds=0)


async def marks(one):
    return [frame.mark for frame in await taken(one)]


# --- what they get -----------------------------------------------------------------


async def test_events_are_taken_in_order_and_once():
    house, one = feed(), watcher()
    with house.watching(live(house, one)):
        hear(house, *(changed(number=number) for number in (1, 2, 3)))

        assert await marks(one) == ["700-1", "700-2", "700-3"]
        assert await marks(one) == []


async def test_who_has_not_joined_is_told_nothing():
    house, one = feed(), watcher()
    with house.watching(one):
        hear(house, changed())

        assert await taken(one) == []


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
    with house.watching(live(house, one)):
        hear(house, changed("completed", tags=msgspec.Raw(b'["vip"]')))

        assert len(await taken(one)) == frames


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
    with house.watching(live(house, one)):
        hear(house, changed("completed", queue_name=outgoing.QUEUE))

        assert len(await taken(one)) == frames


async def test_a_scoped_key_sees_its_queues_only():
    house, one = feed(), watcher(None, "letters", "parcels")
    with house.watching(live(house, one)):
        hear(house, changed(number=1), changed(number=2, queue_name="parcels"))

        assert await marks(one) == ["700-2"]


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
    with house.watching(live(house, scoped)), house.watching(live(house, whole)):
        hear(house, event)

        assert len(await taken(scoped)) == seen
        assert len(await taken(whole)) == 1


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
        assert await marks(one) == ["700-6"]


async def test_who_is_ahead_of_the_stream_is_told_nothing_twice():
    house, one = feed(), watcher()
    with house.watching(one):
        assert house.since(one, (700, 8), at_most=2) == []
        hear(house, *(changed(number=number) for number in range(7, 10)))

        assert await marks(one) == ["700-9"]


def test_memory_is_bounded_and_says_what_it_forgot():
    size = len(changed(number=10).encode())
    house, one = feed(recent_bytes_max=3 * size), watcher()
    hear(house, *(changed(number=number) for number in range(10, 20)))

    assert house.since(one, (700, 15), at_most=9) is None
    found = house.since(one, (700, 16), at_most=9)
    assert [tiding.position for tiding in found] == [(700, 17), (700, 18), (700, 19)]


def test_memory_is_of_one_organization():
    house = feed()
    hear(house, changed(number=1), changed(number=2, organization_id=str(UUID(int=2))))

    assert house.since(watcher(), (700, 1), at_most=9) == []


# --- the mailbox -------------------------------------------------------------------


async def test_a_full_mailbox_ends_its_stream_and_no_other():
    house, slow, quick = feed(), watcher(bytes_max=600), watcher()
    with house.watching(live(house, slow)), house.watching(live(house, quick)):
        async with slow.presence(seconds_max=5):
            hear(house, *(changed(number=number) for number in range(1, 51)))
            await asyncio.sleep(5)

        assert slow.ended_because == "slow"
        assert slow.farewell is not None
        assert await taken(slow) == []
        assert len(await taken(quick)) == 50


async def test_one_write_carries_a_limited_amount():
    house, one = feed(), watcher(bytes_max=1_000_000)
    with house.watching(live(house, one)):
        hear(house, *(changed(number=number) for number in range(1, 2001)))

        first = sum(len(frame.body) for frame in await taken(one))

        assert 64 * 1024 <= first < 66 * 1024
        assert sum(len(frame.body) for frame in await taken(one)) >= 64 * 1024


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
