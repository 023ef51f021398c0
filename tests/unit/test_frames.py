"""The translation of transitions into the contract's frames."""

import json
from uuid import UUID

import msgspec
import pytest
from websockets.frames import Frame as WebSocketFrame
from websockets.streams import StreamReader

from libs.common.lifecycle import MOVES, NOWHERE, Place, Status, Transition
from libs.common.messages import JobChanged, ResourceChanged
from services.streamer import frames
from services.streamer.frames import NAMES, Kind
from services.streamer.tidings import ENDS, STATUSES, TOLD, Tiding

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
            "position": "700-17",
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
    for frame in Tiding(changed(transition, details, **more)).frames:
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

    assert (mark, kind) == ("700-17", "JobCreated")
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
    assert Tiding(changed("promoted")).frames == ()


def test_a_named_frame_is_the_same_frame_with_its_name():
    [frame] = Tiding(changed("started")).frames

    assert frame.name == "job.status"
    assert frame.named == b"event: job.status\n" + frame.unnamed


def test_of_an_event_of_two_frames_the_first_is_a_part():
    marks = [mark for mark, _, _ in told("completed", {"duration_ms": 1})]

    assert marks == ["700-17.1", "700-17"]


def test_what_has_no_place_in_the_stream_cannot_be_gone_on_from():
    for frame in Tiding(changed("completed", {}, position="")).frames:
        assert frame.mark is None
        assert frame.unnamed.startswith(b"data: ")


def test_a_message_of_a_websocket_has_its_mark_as_a_member():
    first, last = Tiding(changed("completed", {"duration_ms": 1})).frames

    assert json.loads(first.text) == json.loads(first.body) | {"id": "700-17.1"}
    assert json.loads(last.text) == json.loads(last.body) | {"id": "700-17"}


def resource(type_, queue_name=None, **data):
    return ResourceChanged(
        id="18",
        position="700-18",
        type=type_,
        time="2026-01-02T03:04:05.678Z",
        organization_id=str(ORGANIZATION),
        resource=type_.split(".")[0],
        resource_id="x",
        queue_name=queue_name,
        data=msgspec.Raw(json.dumps(data).encode()),
    )


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("worker.registered", "WorkerRegistered"),
        ("worker.deregistered", "WorkerDeregistered"),
        ("queue.paused", "QueuePaused"),
        ("schedule.triggered", "ScheduleTriggered"),
        ("workflow.completed", "WorkflowCompleted"),
        ("endpoint.breaker_opened", "EndpointBreakerOpened"),
    ],
)
def test_what_is_no_job_is_told_under_its_own_name(type_, kind):
    [frame] = Tiding(resource(type_, worker_id="w", queue="mail")).frames

    assert (frame.name, frame.mark) == (type_, "700-18")
    assert json.loads(frame.body) == {
        "type": kind,
        "data": {
            "worker_id": "w",
            "queue": "mail",
            "timestamp": "2026-01-02T03:04:05.678Z",
        },
    }


@pytest.mark.parametrize("transition", Transition)
def test_a_job_ends_with_the_transitions_to_an_end(transition):
    new = (STATUSES.get(transition) or (None, None))[1]

    assert Tiding(changed(transition)).ends_job == (new in ENDS)


def test_frames_about_no_job_carry_no_id():
    health = frames.system_health(database=True, bus=False)
    error = frames.error("too slow")

    assert health.unnamed.startswith(b'data: {"type":"SystemHealth","data":{')
    assert error.unnamed.startswith(
        b'data: {"type":"Error","data":{"message":"too slow"'
    )
    assert set(NAMES) == set(Kind)


@pytest.mark.parametrize("size", [26, 125, 126, 65_535, 65_536])
def test_a_message_is_framed_as_sockets_read_it(size):
    frame = frames.Frame("Error", "error", "x" * (size - 26), None)
    assert len(frame.text) == size
    reader = StreamReader()
    reader.feed_data(frames.messages([frame, frame]))
    reader.feed_eof()
    reading = WebSocketFrame.parse(reader.read_exact, mask=False)

    with pytest.raises(StopIteration) as read:
        next(reading)

    assert read.value.value.data == frame.text.encode()
    assert read.value.value.fin


def test_nothing_is_no_chunk():
    """A chunk without data would end the body."""
    assert frames.chunk(b"") == frames.unnamed_in_chunk([frames.Last()]) == b""
    assert frames.chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
