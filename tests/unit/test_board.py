"""What `bellhop top` knows: what was read, and what came since."""

from libs.cli.api.board import SHOWN_MAX, Board, Part
from libs.cli.api.stream import Frame

COUNTS = {
    "pending_jobs": 5,
    "processing_jobs": 1,
    "scheduled_jobs": 0,
    "deadletter_jobs": 2,
}


def board():
    made = Board(stale=set())
    made.take_queues(
        [
            {"queue_name": "mail", "paused": False},
            {"queue_name": "idle", "paused": True},
        ]
    )
    made.take_figures("mail", COUNTS)
    made.take_figures("idle", dict.fromkeys(COUNTS, 0))
    made.take_workers(
        [{"id": "w1", "queue_name": "mail", "current_jobs": 1, "status": "healthy"}]
    )
    return made


def changed(old, new, queue="mail"):
    data = {"queue_name": queue, "old_status": old, "new_status": new}
    return Frame("1", "JobStatusChange", data)


def test_events_move_jobs_and_make_rates():
    made = board()
    made.happened(Frame("1", "JobCreated", {"queue_name": "mail"}))
    made.happened(changed("pending", "processing"))
    made.happened(changed("processing", "completed"))
    made.happened(Frame("1", "JobFailed", {"queue_name": "mail"}))

    mail, idle = made.rows()
    assert (mail["pending"], mail["processing"], mail["deadletter"]) == (5, 1, 2)
    assert mail["created_per_second"] == mail["completed_per_second"] == 0.1
    assert mail["failed_per_second"] == 0.1
    assert (idle["queue"], idle["paused"]) == ("idle", True)


def test_a_queue_that_was_not_there_is_there_with_its_first_job():
    made = board()
    made.happened(Frame("1", "JobCreated", {"queue_name": "new"}))
    made.happened(changed("scheduled", "pending", queue="new"))

    [new] = [row for row in made.rows() if row["queue"] == "new"]
    assert (new["pending"], new["scheduled"]) == (2, 0), "and never below nothing"


def test_workers_show_themselves_and_queues_are_paused():
    made = board()
    beat = {"worker_id": "w2", "queue_name": "mail", "status": "healthy"}
    made.happened(Frame(None, "WorkerHeartbeat", {**beat, "current_jobs": 3}))
    made.happened(Frame("1", "QueuePaused", {"queue_name": "mail"}))
    made.happened(Frame("1", "QueueResumed", {"queue_name": "idle"}))

    assert [row["worker"] for row in made.at_work()] == ["w2", "w1"]
    assert [row["paused"] for row in made.rows()] == [True, False]
    assert made.stale == set()
    made.happened(Frame("1", "EndpointDisabled", {}))
    assert made.stale == {Part.ENDPOINTS}
    made.happened(Frame("1", "WorkerRegistered", {}))
    assert made.stale == {Part.ENDPOINTS, Part.WORKERS}
    made.happened(Frame("1", "EventsLost", {}))
    assert made.stale == {*Part}


def test_what_happens_while_other_queues_are_read_still_counts():
    made = board()
    made.take_figures("mail", {**COUNTS, "pending_jobs": 7})
    made.happened(Frame("1", "JobCreated", {"queue_name": "mail"}))
    made.take_figures("idle", dict.fromkeys(COUNTS, 0))

    assert [row["pending"] for row in made.rows()] == [8, 0]


def test_figures_that_events_moved_are_read_again():
    made = board()
    assert made.moved_to_read() == []
    made.happened(Frame("1", "JobCreated", {"queue_name": "mail"}))
    made.happened(changed("scheduled", "pending", queue="idle"))
    assert made.moved_to_read() == ["mail", "idle"]

    made.moved.discard("mail")
    made.take_figures("mail", COUNTS)
    assert made.queues["mail"]["pending"] == 5, "it was counted when it was read"
    assert made.moved_to_read() == ["idle"]

    # What happens between question and answer may be counted in it or not.
    made.happened(Frame("1", "JobCreated", {"queue_name": "mail"}))
    made.take_figures("mail", COUNTS)
    assert made.moved_to_read() == ["mail", "idle"]
    made.moved.discard("mail")

    made.forget("idle")
    assert made.moved_to_read() == []
    assert [row["queue"] for row in made.rows()] == ["mail"]


def test_a_queue_that_is_gone_is_forgotten():
    made = board()
    made.take_queues([{"queue_name": "idle", "paused": False}])

    assert [(row["queue"], row["paused"]) for row in made.rows()] == [("idle", False)]


def test_of_many_queues_those_that_are_shown_are_read_and_the_others_in_turn():
    names = [f"queue-{n:03}" for n in range(100)]
    made = Board()
    made.take_queues({"queue_name": name, "paused": False} for name in names)
    for name in names:
        made.take_figures(name, COUNTS)
    made.take_figures("queue-099", {**COUNTS, "pending_jobs": 1000})

    seen = set()
    for _ in range(100 // SHOWN_MAX + 1):
        wanted = made.names_to_read()
        assert wanted[0] == "queue-099"
        assert len(wanted) <= 2 * SHOWN_MAX
        for name in wanted[1:]:
            made.take_figures(name, COUNTS)
        seen |= {*wanted}
    assert seen == {*names}


def test_endpoints_that_fail_are_shown_the_longest_first():
    stats = {"breaker": "open", "waiting": 3, "last_error": "HTTP 500"}
    endpoints = [
        {"url": "b", "enabled": True, "stats": {**stats, "failing_since": "2026-02"}},
        {"url": "fine", "enabled": True, "stats": {**stats, "failing_since": None}},
        {"url": "a", "enabled": True, "stats": {**stats, "failing_since": "2026-01"}},
        {"url": "off", "enabled": False, "stats": {**stats, "failing_since": None}},
    ]
    made = Board(endpoints=endpoints)

    assert [one["url"] for one in made.failing()] == ["a", "b", "off"]
