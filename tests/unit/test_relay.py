"""What is told of a transition: the contract's events, with the contract's data."""

import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from libs.common.lifecycle import Transition
from libs.common.store.journal import Entry
from libs.common.store.notices import Notice
from libs.common.store.telling import Audience, Doorstep, Outcome, Webhook
from services.scheduler import outgoing
from services.scheduler.relay import ENDS, happening, happenings

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ORG = UUID("0191d0a0-0000-7000-8000-000000000001")
JOB = UUID("0191d0a0-0000-7000-8000-000000000002")
HOOK = UUID("0191d0a0-0000-7000-8000-000000000003")
OTHER = UUID("0191d0a0-0000-7000-8000-000000000004")


def entry(transition, *, details=None, **fields):
    return Entry(
        **{
            "seq": 1,
            "xid": "1",
            "job_id": JOB,
            "organization_id": ORG,
            "queue_name": "mail",
            "transition": transition,
            "rank": 90,
            "attempt": 1,
            "at": AT,
            "actor": None,
            "details": None if details is None else json.dumps(details),
            "lane_id": 1,
            "push": False,
            **fields,
        }
    )


def webhook(*events, id_=HOOK):
    return Webhook(id_, ORG, events, "json", 4, None)


def told(transition, **fields):
    found = happenings(entry(transition, **fields))
    for one in found:
        assert (one.organization_id, one.at) == (ORG, AT)
        assert list(one.data)[:2] == ["job_id", "queue_name"]
        assert (one.data["job_id"], one.data["queue_name"]) == (str(JOB), "mail")
    return {
        one.event: {
            name: value
            for name, value in one.with_result('{"sent": true}').items()
            if name not in {"job_id", "queue_name"}
        }
        for one in found
    }


def test_a_job_that_was_created_tells_its_priority_and_status():
    assert told("created") == {"job.created": {"priority": 10, "status": "pending"}}
    later = told("created", details={"run_at": "2030-01-01T00:00:00+00:00"})
    assert later["job.created"]["status"] == "scheduled"


def test_a_job_that_a_schedule_made_tells_so():
    made = told("created", details={"source": "cron", "schedule_id": "s"})

    assert made["job.created"] == {
        "priority": 10,
        "status": "pending",
        "source": "cron",
        "schedule_id": "s",
    }


def test_a_job_that_was_started_tells_by_whom():
    assert told("started", actor="worker-1", details={"waited_ms": 1.5}) == {
        "job.started": {"worker_id": "worker-1"}
    }


def test_a_job_that_completed_tells_its_result():
    completed = {"status": "completed", "result": msgspec.Raw(b'{"sent": true}')}
    assert told("completed") == {"job.completed": completed}
    [one] = happenings(entry("completed"))
    assert one.with_result(None)["result"] is None


@pytest.mark.parametrize(
    ("transition", "details", "reason"),
    [
        (
            "deadlettered",
            {"error": "no", "retry_count": 3, "reason": "attempts_exhausted"},
            "attempts_exhausted",
        ),
        ("quarantined", {"error": "no", "crash_count": 3}, "quarantined"),
    ],
)
def test_a_job_that_was_given_up_failed_and_is_a_dead_letter(
    transition, details, reason
):
    failed = {"status": "deadletter", "error": "no"}

    assert told(transition, details=details) == {
        "job.failed": failed,
        "job.deadlettered": {**failed, "reason": reason},
    }


def test_a_job_that_is_tried_again_tells_whether_by_itself():
    details = {"error": "HTTP 500", "retry_count": 2, "run_at": "2030-01-01T00:00:00Z"}
    assert told("retrying", details=details) == {
        "job.retried": {
            "status": "pending",
            "retry_count": 2,
            "error": "HTTP 500",
            "scheduled_at": "2030-01-01T00:00:00Z",
            "source": "automatic",
        }
    }
    assert told("requeued") == {
        "job.retried": {"status": "pending", "retry_count": 0, "source": "manual"}
    }


@pytest.mark.parametrize("transition", ["cancelled", "expired"])
@pytest.mark.parametrize(
    ("details", "before"),
    [
        ({"place": "ready", "retry_count": 0}, "pending"),
        ({"place": "scheduled", "retry_count": 0}, "scheduled"),
        ({"place": "scheduled", "retry_count": 1}, "pending"),
        ({"place": "leased"}, "pending"),
    ],
)
def test_a_job_that_ended_otherwise_tells_what_it_was(transition, details, before):
    assert told(transition, details=details) == {
        f"job.{transition}": {"status": transition, "old_status": before}
    }


def test_a_child_tells_that_its_parent_failed():
    details = {"place": "waiting", "retry_count": 0, "reason": "parent_failed"}
    assert told("cancelled", details=details)["job.cancelled"] == {
        "status": "cancelled",
        "old_status": "pending",
        "reason": "parent_failed",
    }


def test_of_the_other_moves_nothing_is_told():
    silent = {t for t in Transition if not happenings(entry(t))}

    assert silent == {
        Transition.DUE,
        Transition.HELD,
        Transition.BLOCKED,
        Transition.UNBLOCKED,
        Transition.REPRIORITIZED,
        Transition.RELEASED,
        Transition.RECOVERED,
        Transition.PURGED,
    }
    assert not silent & ENDS


def test_a_notice_tells_its_data_as_it_is_written():
    notice = Notice(
        1, "1", ORG, "queue.paused", '{"queue_name": "m", "reason": null}', AT
    )

    one = happening(notice)

    assert (one.event, one.at) == ("queue.paused", AT)
    assert msgspec.json.encode(one.data) == b'{"queue_name":"m","reason":null}'


def test_only_who_asked_for_an_event_is_told_of_it():
    some, all_ = webhook("job.failed", "job.created"), webhook("*", id_=OTHER)
    audience = Audience({ORG: [some, all_]})

    letters = list(
        outgoing.letters_of(
            [entry("created"), entry("started"), entry("deadlettered", details={})],
            audience,
        )
    )

    assert [(one.happening.event, one.to) for one in letters] == [
        ("job.created", some),
        ("job.created", all_),
        ("job.started", all_),
        ("job.failed", some),
        ("job.failed", all_),
        ("job.deadlettered", all_),
    ]
    assert {one.lane.destination for one in letters} == {
        f"endpoint:{HOOK}",
        f"endpoint:{OTHER}",
    }


def test_of_jobs_that_tell_of_others_nobody_is_told():
    audience = Audience(
        {ORG: [webhook("*")]}, {JOB: Doorstep("https://x.org/", "https://x.org:443")}
    )

    entries = [entry(transition, telling=True) for transition in Transition]

    assert list(outgoing.letters_of(entries, audience)) == []


@pytest.mark.parametrize(
    ("transition", "event"),
    [
        ("completed", "job.completed"),
        ("deadlettered", "job.failed"),
        ("quarantined", "job.failed"),
        ("cancelled", "job.cancelled"),
        ("expired", "job.expired"),
    ],
)
def test_the_end_of_a_job_is_told_to_its_own_url_once(transition, event):
    doorstep = Doorstep("https://x.org/done", "https://x.org:443")

    [letter] = outgoing.letters_of([entry(transition)], Audience({}, {JOB: doorstep}))

    assert letter.happening.event == event
    assert (letter.to, letter.completion_of) == (doorstep, JOB)
    assert letter.lane.destination == "completion:https://x.org:443"


def test_what_does_not_end_a_job_is_not_told_to_its_url():
    doorstep = Doorstep("https://x.org/done", "https://x.org:443")
    entries = [entry(t) for t in Transition if t not in ENDS]

    assert list(outgoing.letters_of(entries, Audience({}, {JOB: doorstep}))) == []


def test_how_deliveries_go_is_counted_by_webhook():
    def went(*transitions, id_=HOOK):
        return [entry(t, telling=True, endpoint_id=id_) for t in transitions]

    def outcome(*transitions):
        [found] = outgoing.outcomes_of(went(*transitions))
        return found

    assert outcome("created", "started", "completed") == Outcome(
        HOOK, arrived=True, failures=0, last_status="success", at=AT
    )
    # A failed attempt is no failed delivery.
    assert outcome("retrying") == Outcome(HOOK, False, 0, "failed", AT)
    assert outcome("deadlettered", "retrying") == Outcome(HOOK, False, 1, "failed", AT)
    assert outcome("deadlettered", "completed", "quarantined", "deadlettered") == (
        Outcome(HOOK, True, 2, "failed", AT)
    )
    assert outcome("deadlettered", "completed") == Outcome(HOOK, True, 0, "success", AT)
    both = [*went("deadlettered"), *went("completed", id_=OTHER)]
    assert {one.endpoint_id for one in outgoing.outcomes_of(both)} == {HOOK, OTHER}


def test_other_jobs_are_no_deliveries():
    other = [
        entry("deadlettered", endpoint_id=HOOK),
        entry("completed", telling=True),
        entry("created", telling=True, endpoint_id=HOOK),
    ]

    assert outgoing.outcomes_of(other) == []
