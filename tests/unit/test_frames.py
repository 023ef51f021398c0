"""The translation of transitions into the contract's frames."""

import asyncio
import json
from uuid import UUID

import msgspec
import pytest

from libs.common import outgoing
from libs.common.access import Principal
from libs.common.errors import Unavailable
from libs.common.lifecycle import MOVES, NOWHERE, Place, Status, Transition
from libs.common.messages import JobChanged
from libs.common.plans import plan_of
from services.streamer import frames
from services.streamer.feed import Feed, TooManyStreams, Watcher, Wish
from services.streamer.frames import NAMES, STATUSES, TOLD, Kind, frames_of

ORGANIZATION = UUID("0191d0a0-0000-7000-8000-000000000001")
JOB = "0191d0a0-0000-7000-8000-0000000000aa"

#: What the API may call a job that stands in a place (contract 4.1).
CALLED = {
    Place.READY: {Status.PENDING},
    Place.SCHEDULED: {Status.SCHEDULED, Status.PENDING},
    Place.WAITING: {Status.PENDING},
    Place.HELD: {Status.PENDING},
    Place.LEASED: {Status.PROCESSING},
    Place.FINISHED: {Status.COMPLETED, Status.CANCELLED, Status.EXPIRED},
    Place.DEAD: {Status.DEADLETTER},
}


def changed(transition, details=None, **more):
    return JobChanged(
        **{
            "id": "17",
            "type": f"job.{transition}",
            "time": "2026-01-02T03:04:05.678Z",
            "organization_id": str(ORGANIZATION),
            "queue_name": "mail",
            "job_id": JOB,
            "attempt": 1,
            "priority": 5,
            "details": msgspec.Raw(json.dumps(details).encode()),
            **more,
        }
    )


def told(transition, details=None, **more):
    """Read the unnamed frames as a client would: (id, type, data) each."""
    read = []
    for frame in frames_of(changed(transition, details, **more)):
        mark, data = frame.unnamed.decode().removesuffix("\n\n").split("\n")
        envelope = json.loads(data.removeprefix("data: "))
        assert set(envelope) == {"type", "data"}
        assert envelope["data"]["timestamp"] == "2026-01-02T03:04:05.678Z"
        assert envelope["data"]["job_id"] == JOB
        assert envelope["data"]["queue_name"] == "mail"
        read.append((mark.removeprefix("id: "), envelope["type"], envelope["data"]))
    return read


def change(transition, details=None, **more):
    """The (old, new) status that a transition is told as."""
    for _, kind, data in told(transition, details, **more):
        if kind == "JobStatusChange":
            assert data["transition"] == transition
            return data["old_status"], data["new_status"]
    return None


@pytest.mark.parametrize("transition", Transition)
def test_every_transition_is_translated(transition):
    kinds = tuple(kind for _, kind, _ in told(transition))

    assert kinds == TOLD[transition]
    assert (transition in STATUSES) == (Kind.JOB_STATUS_CHANGE in TOLD[transition])


@pytest.mark.parametrize(
    ("transition", "place"),
    [
        (transition, place)
        for transition in STATUSES
        for place in (None, *sorted(left for left, _ in MOVES[transition] if left))
    ],
)
@pytest.mark.parametrize("retry_count", [0, 2])
def test_a_status_change_is_a_legal_move(transition, place, retry_count):
    details = {"place": place, "retry_count": retry_count}

    old, new = change(transition, details)

    legal = {
        (before, after)
        for left, entered in MOVES[transition]
        if left is not NOWHERE and place in {None, left}
        if entered is not NOWHERE
        for before in CALLED[left]
        for after in CALLED[entered]
    }
    assert (old, new) in legal


@pytest.mark.parametrize(
    ("transition", "details", "attempt", "expected"),
    [
        ("due", {"retry_count": 0}, 0, ("scheduled", "pending")),
        ("due", {"retry_count": 2}, 2, ("pending", "pending")),
        ("due", None, 0, ("scheduled", "pending")),
        ("due", None, 1, ("pending", "pending")),
        ("unblocked", None, 0, ("pending", "pending")),
        ("started", None, 1, ("pending", "processing")),
        ("completed", {}, 1, ("processing", "completed")),
        ("retrying", {}, 1, ("processing", "pending")),
        ("deadlettered", {}, 4, ("processing", "deadletter")),
        ("quarantined", {}, 3, ("processing", "deadletter")),
        ("released", None, 1, ("processing", "pending")),
        ("recovered", {}, 1, ("processing", "pending")),
        ("cancelled", None, 0, ("pending", "cancelled")),
        ("cancelled", {"place": "ready"}, 0, ("pending", "cancelled")),
        ("cancelled", {"place": "scheduled"}, 0, ("scheduled", "cancelled")),
        ("cancelled", {"place": "scheduled"}, 1, ("pending", "cancelled")),
        ("expired", {"place": "scheduled"}, 0, ("scheduled", "expired")),
        ("expired", {"place": "leased"}, 1, ("processing", "expired")),
        ("requeued", None, 4, ("deadletter", "pending")),
        ("requeued", {"place": "dead"}, 4, ("deadletter", "pending")),
        (
            "requeued",
            {"place": "finished", "ending": "expired"},
            0,
            ("expired", "pending"),
        ),
        ("created", None, 0, None),
        ("purged", None, 4, None),
    ],
)
def test_statuses_are_the_words_of_the_api(transition, details, attempt, expected):
    assert change(transition, details, attempt=attempt) == expected


def test_a_created_job_tells_its_priority():
    [(mark, kind, data)] = told("created", {"run_at": "2030-01-01T00:00:00Z"})

    assert (mark, kind) == ("17", "JobCreated")
    assert set(data) == {"job_id", "queue_name", "priority", "timestamp"}
    assert data["priority"] == 5


def test_a_completed_job_tells_whole_milliseconds():
    _, (_, kind, data) = told("completed", {"duration_ms": 12.6, "status_code": 204})

    assert kind == "JobCompleted"
    assert data["duration_ms"] == 13
    assert isinstance(data["duration_ms"], int)


@pytest.mark.parametrize("transition", ["retrying", "deadlettered", "quarantined"])
def test_a_failure_tells_its_error(transition):
    _, (_, kind, data) = told(transition, {"error": "HTTP 500\n", "retry_count": 2})

    assert kind == "JobFailed"
    assert (data["error"], data["retry_count"]) == ("HTTP 500\n", 2)


@pytest.mark.parametrize("details", [None, [], "text", {"error": None}])
def test_poor_details_are_told_poorly(details):
    _, (_, _, data) = told("retrying", details)

    assert (data["error"], data["retry_count"]) == ("", 0)


def test_a_transition_of_tomorrow_is_told_as_nothing():
    assert frames_of(changed("promoted")) == ()


def test_a_named_frame_is_the_same_frame_with_its_name():
    [frame] = frames_of(changed("started"))

    assert frame.name == "job.status"
    assert frame.named == b"event: job.status\n" + frame.unnamed


def test_frames_about_no_job_carry_no_id():
    health = frames.system_health(database=True, bus=False)
    error = frames.error("too slow")

    assert health.unnamed.startswith(b'data: {"type":"SystemHealth","data":{')
    assert error.unnamed.startswith(
        b'data: {"type":"Error","data":{"message":"too slow"'
    )
    assert set(NAMES) == set(Kind)


# --- the mailboxes -----------------------------------------------------------------


def principal(*queues, organization_id=ORGANIZATION):
    return Principal(
        organization_id=organization_id,
        api_key_id=UUID(int=1),
        queues=queues,
        plan=plan_of("free"),
    )


def watcher(wish=None, *queues, bytes_max=100_000):
    return Watcher(principal(*queues), wish or Wish(), bytes_max=bytes_max)


def feed(**limits):
    return Feed(**{"per_organization_max": 3, "streams_max": 5, **limits})


async def taken(one):
    return await one.take(at_most_seconds=0)


async def test_events_are_taken_in_order_and_once():
    house, one = feed(), watcher()
    with house.watching(one):
        for id_ in ("1", "2", "3"):
            house.hear(changed("started", id=id_).encode())

        text = await taken(one)

    assert [line for line in text.splitlines() if line.startswith(b"id")] == [
        b"id: 1",
        b"id: 2",
        b"id: 3",
    ]
    assert await taken(one) == b""


@pytest.mark.parametrize(
    ("wish", "kinds"),
    [
        (Wish(), 2),
        (Wish(queue_name="mail"), 2),
        (Wish(queue_name="letters"), 0),
        (Wish(job_id=JOB), 2),
        (Wish(job_id="another"), 0),
        (Wish(names=frozenset({"job.completed"})), 1),
        (Wish(names=frozenset({"job.created"})), 0),
        (Wish(queue_name="mail", job_id=JOB, names=frozenset({"job.status"})), 1),
    ],
)
async def test_a_watcher_gets_what_it_asked_for(wish, kinds):
    house, one = feed(), watcher(wish)
    with house.watching(one):
        house.hear(changed("completed").encode())

        assert (await taken(one)).count(b"data: ") == kinds


@pytest.mark.parametrize(
    ("wish", "kinds"),
    [
        (Wish(), 0),
        (Wish(queue_name=outgoing.QUEUE), 2),
        (Wish(job_id=JOB), 2),
    ],
)
async def test_what_tells_of_jobs_is_shown_to_who_asks_for_it(wish, kinds):
    house, one = feed(), watcher(wish)
    with house.watching(one):
        house.hear(changed("completed", queue_name=outgoing.QUEUE).encode())

        assert (await taken(one)).count(b"data: ") == kinds


async def test_a_scoped_key_sees_its_queues_only():
    house, one = feed(), watcher(None, "letters", "parcels")
    with house.watching(one):
        house.hear(changed("started").encode())
        house.hear(changed("started", queue_name="parcels").encode())

        text = await taken(one)

    assert b"mail" not in text
    assert text.count(b"data: ") == 1


async def test_what_cannot_be_read_is_skipped():
    house, one = feed(), watcher()
    with house.watching(one):
        house.hear(b"{")
        house.hear(changed("started").encode())

        assert (await taken(one)).count(b"data: ") == 1


async def test_a_full_mailbox_ends_its_stream_and_no_other():
    house, slow, quick = feed(), watcher(bytes_max=600), watcher()
    interrupted = asyncio.Event()
    slow.interrupt = interrupted.set
    with house.watching(slow), house.watching(quick):
        for _ in range(50):
            house.hear(changed("started").encode())

        assert interrupted.is_set()
        assert slow.farewell is not None
        assert await taken(slow) == b""
        assert (await taken(quick)).count(b"data: ") == 50


async def test_one_write_carries_a_limited_amount():
    house, one = feed(), watcher(bytes_max=1_000_000)
    with house.watching(one):
        for _ in range(2000):
            house.hear(changed("started").encode())

        first = await taken(one)

        assert 64 * 1024 <= len(first) < 66 * 1024
        assert len(await taken(one)) >= 64 * 1024


async def test_streams_are_limited_by_organization_and_in_all():
    house = feed(per_organization_max=1, streams_max=2)
    other = Watcher(principal(organization_id=UUID(int=2)), Wish(), bytes_max=1000)
    third = Watcher(principal(organization_id=UUID(int=3)), Wish(), bytes_max=1000)
    with house.watching(watcher()):
        with pytest.raises(TooManyStreams), house.watching(watcher()):
            pass
        with (
            house.watching(other),
            pytest.raises(Unavailable),
            house.watching(third),
        ):
            pass
    with house.watching(watcher()), house.watching(third):
        assert house.is_watched
    assert not house.is_watched
