"""The rules of a run under faults: a sound story passes, a broken one does not."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.chaos.history import History, Note, read_history
from tests.chaos.plan import LASTING, draw
from tests.chaos.report import complaint
from tests.chaos.rules import RULES, Story, check
from tests.chaos.tables import Move, Standing, Tables

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SCHEDULE = UUID(int=1)


class Teller:
    """Tells a story note by note, at times that the test gives."""

    def __init__(self, path):
        self.history = History(path / "history.jsonl")
        self.tables = Tables()
        self._rows = 0

    def note(self, at, what, job="", *, asked_at=0.0, **facts):
        self.history.notes.append(Note(at, what, job, asked_at, facts))

    def job(self, job, *transitions, place="finished", ending="completed", **facts):
        """Let a job be accepted, and have gone this way."""
        kind = facts.pop("kind", "steady")
        retries = facts.pop("retries", 0)
        key = facts.get("key")
        self.note(0, "accepted", job, kind=kind, **facts)
        self.tables.jobs[job] = Standing(place, ending, retries, key)
        self.tables.moves[job] = []
        for transition in transitions:
            self.move(job, transition)

    def move(self, job, transition):
        self._rows += 1
        self.tables.moves.setdefault(job, []).append(
            Move(self._rows, self._rows, transition, 1, None, NOON)
        )

    def sent(self, at, job, status=200, path="/steady"):
        self.note(at, "arrived", job, path=path)
        self.note(at, "answered", job, path=path, arrived_at=at, status=status)

    def claimed(self, at, job, lease, worker):
        facts = {"lease": lease, "worker": worker, "seconds": 5}
        self.note(at, "claimed", job, asked_at=at, **facts)

    def settled(self, at, job, lease, worker, *, ours):
        facts = {"lease": lease, "worker": worker, "how": "completed", "ours": ours}
        self.note(at, "settled", job, asked_at=at, **facts)

    def fault(self, began, ended, fault, on):
        self.note(began, "fault began", fault=fault, on=on)
        self.note(ended, "fault ended", fault=fault, on=on)

    @property
    def story(self):
        self.history.notes.sort(key=lambda note: note.at)
        return Story(self.history, self.tables)


@pytest.fixture
def teller(tmp_path):
    """Somebody who tells a story in which all is well."""
    one = Teller(tmp_path)
    one.job("sent", "created", "started", "completed")
    one.sent(1, "sent")
    one.job("worked", "created", "started", "recovered", "started", "completed")
    one.claimed(1, "worked", "lease 1", "ann")
    one.claimed(7, "worked", "lease 2", "bob")
    one.settled(8, "worked", "lease 2", "bob", ours=True)
    one.settled(9, "worked", "lease 1", "ann", ours=False)
    yield one
    one.history.close()


def broken(teller):
    return {violation.rule for violation in check(teller.story)}


def test_a_sound_story_breaks_no_rule(teller):
    assert broken(teller) == set()


def test_a_job_that_was_accepted_and_is_not_there_is_found(teller):
    teller.note(2, "accepted", "lost", kind="steady")
    assert broken(teller) == {"accepted is durable"}


def test_a_message_without_its_deliveries_is_found(teller):
    teller.note(2, "message", "message", key="key")
    assert broken(teller) == {"accepted is durable"}


def test_a_key_that_made_two_jobs_is_found(teller):
    for job in ("one", "two"):
        teller.job(job, "created", "started", "completed", key="key")
    assert broken(teller) == {"a key is one job"}


def test_a_job_that_does_not_end_is_found(teller):
    teller.job("stuck", "created", place="ready", ending="")
    assert broken(teller) == {"everything ends"}


def test_a_job_that_ends_twice_is_found(teller):
    teller.job("twice", "created", "started", "completed", "completed")
    assert broken(teller) == {"one end", "moves are legal"}


def test_a_job_that_stands_where_no_move_led_is_found(teller):
    teller.job("moved", "created", "started", "completed", place="dead", kind="hostile")
    assert broken(teller) == {"moves are legal"}


def test_what_was_told_to_be_completed_and_is_not_is_found(teller):
    teller.job("expired", "created", "expired", ending="expired", kind="work")
    teller.claimed(1, "expired", "lease 3", "ann")
    teller.settled(2, "expired", "lease 3", "ann", ours=True)
    assert broken(teller) == {"settled is settled"}


def test_what_was_cancelled_and_ran_all_the_same_is_found(teller):
    teller.note(3, "cancelled", "sent")
    assert broken(teller) == {"settled is settled"}


def test_whoever_settles_what_another_has_is_found(teller):
    teller.settled(10, "worked", "lease 1", "ann", ours=True)
    assert broken(teller) == {"one owner", "settled is settled"}


def test_two_who_have_a_job_at_once_are_found(teller):
    teller.job("shared", "created", "started", "recovered", "started", "completed")
    teller.claimed(1, "shared", "lease 3", "ann")
    teller.claimed(5, "shared", "lease 4", "bob")
    assert broken(teller) == {"one owner"}


def test_a_lease_that_was_renewed_lives_on(teller):
    teller.job("kept", "created", "started", "recovered", "started", "completed")
    teller.claimed(1, "kept", "lease 3", "ann")
    facts = {"lease": "lease 3", "worker": "ann", "seconds": 5, "ours": True}
    teller.note(5, "renewed", "kept", asked_at=5, **facts)
    teller.claimed(9, "kept", "lease 4", "bob")
    assert broken(teller) == {"one owner"}


def test_a_settlement_counts_from_when_it_was_asked_for(teller):
    teller.job("quick", "created", "started", "retrying", "due", "started", "completed")
    teller.claimed(1, "quick", "lease 3", "ann")
    teller.claimed(3, "quick", "lease 4", "bob")
    facts = {"lease": "lease 3", "worker": "ann", "how": "failed", "ours": True}
    teller.note(4, "settled", "quick", asked_at=2, **facts)
    assert broken(teller) == set()


def test_an_answer_that_came_late_is_no_second_owner(teller):
    teller.job("slow", "created", "started", "recovered", "started", "completed")
    facts = {"worker": "ann", "seconds": 5}
    teller.claimed(8, "slow", "lease 4", "bob")
    # The process that answered stood still meanwhile.
    teller.note(10, "claimed", "slow", asked_at=1, lease="lease 3", **facts)
    teller.settled(11, "slow", "lease 4", "bob", ours=True)
    assert broken(teller) == set()


def test_whoever_settles_after_the_lease_is_found(teller):
    teller.job("late", "created", "started", "completed")
    teller.claimed(1, "late", "lease 3", "ann")
    teller.settled(9, "late", "lease 3", "ann", ours=True)
    assert broken(teller) == {"one owner"}


def test_a_lease_that_came_twice_is_found(teller):
    teller.job("again", "created", "started", "recovered", "started", "completed")
    teller.claimed(20, "again", "lease 2", "ann")
    assert broken(teller) == {"one owner"}


def test_what_was_taken_and_came_again_needs_a_death(teller):
    teller.sent(5, "sent")
    assert broken(teller) == {"repeats have a death"}
    teller.fault(2, 3, "kill", "dispatcher#1")
    assert broken(teller) == {"repeats have a death"}
    teller.fault(2, 3, "kill", "delivery#1")
    assert broken(teller) == set()


def test_a_death_explains_no_more_than_it_had_in_flight(teller):
    teller.fault(2, 3, "kill", "delivery#1")
    for number in range(129):
        teller.job(f"sent {number}", "created", "started", "completed")
        teller.sent(1, f"sent {number}")
        teller.sent(5, f"sent {number}")
    assert broken(teller) == {"repeats have a death"}


def test_a_retry_that_no_receiver_caused_is_found(teller):
    teller.job("charged", "created", "started", "completed", retries=2)
    teller.sent(1, "charged", 500)
    teller.sent(2, "charged")
    assert broken(teller) == {"receivers lose no attempt"}


def test_whoever_dies_without_a_reason_is_found(teller):
    moves = ("created", "started", "deadlettered")
    teller.job("dead", *moves, place="dead", ending="attempts_exhausted")
    assert broken(teller) == {"nobody dies"}


def test_a_quarantine_without_three_deaths_is_found(teller):
    moves = ("created", "started", "quarantined")
    teller.job("harmless", *moves, place="dead", ending="quarantined")
    assert broken(teller) == {"quarantined"}


def test_a_line_that_was_overtaken_is_found(teller):
    for number in range(3):
        teller.job(f"turn {number}", "created", "started", "completed", line="line")
    for at, number in enumerate((0, 2, 1)):
        teller.sent(at, f"turn {number}")
    assert broken(teller) == {"lines keep their order"}


def test_a_step_that_did_not_wait_is_found(teller):
    teller.job("child", "created", kind="step", after=["parent"])
    teller.job("parent", "created", "started", "completed", kind="step")
    for transition in ("unblocked", "started", "completed"):
        teller.move("child", transition)
    # It waited: the parent's moves come before.
    assert "workflows" not in broken(teller)
    teller.tables.moves["parent"].clear()
    for transition in ("created", "started", "completed"):
        teller.move("parent", transition)
    assert "workflows" in broken(teller)


def test_ticks_that_are_missing_or_too_many_are_found(teller):
    later = NOON + timedelta(seconds=5)
    story = teller.story
    story.ticks = {SCHEDULE: {NOON, later}}
    story.tables.runs = {SCHEDULE: {NOON: ["sent"], later: ["worked"]}}
    assert check(story) == []
    story.tables.runs[SCHEDULE][later].append("sent")
    assert {one.rule for one in check(story)} == {"ticks fire once"}
    del story.tables.runs[SCHEDULE][later]
    assert {one.rule for one in check(story)} == {"ticks fire once"}


def test_what_a_watcher_did_not_see_is_found_with_its_job(teller):
    story = teller.story
    story.unseen = {"watcher 0": [(1, 1)]}
    (violation,) = check(story)
    assert (violation.rule, violation.job) == ("everything is told", "sent")
    assert "arrived" in complaint([violation], story)


def test_whoever_falls_by_itself_is_found(teller):
    teller.note(2, "fell", replica="scheduler#1", code=1)
    assert broken(teller) == {"services stand"}


def test_a_broken_invariant_is_found(teller):
    teller.note(2, "invariant", "sent", name="misplaced", row="in two places")
    assert broken(teller) == {"invariant misplaced"}


def test_every_rule_says_in_a_sentence_what_it_asks():
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES)


# --- the history and the plan ---------------------------------------------------------


def test_a_history_is_read_as_it_was_written(tmp_path):
    history = History(tmp_path / "history.jsonl")
    history.note("accepted", "job", kind="steady")
    history.note("claimed", "job", asked_at=1.0, lease="lease")
    history.close()
    assert read_history(history.path) == history.notes


def plan(seed, seconds=300):
    luck = random.Random(seed)
    return draw(luck, seconds=seconds, faults=list(LASTING), replicas=2)


def test_a_seed_is_a_plan():
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_every_fault_and_breaks_nothing_twice_at_once(seed):
    planned = plan(seed)
    assert {one.fault for one in planned} == LASTING.keys()
    assert all(one.at + one.seconds < 300 for one in planned)
    free: dict[str, float] = {}
    for one in planned:
        assert one.at >= free.get(one.resource, 0)
        free[one.resource] = one.at + one.seconds
