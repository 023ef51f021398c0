"""The promises as questions to a history and its tables: pure functions, one each.

A rule yields what breaks it.  ``Story`` is what all of them read.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import combinations, pairwise
from typing import Final
from uuid import UUID

from libs.common.lifecycle import MOVES, NOWHERE, Transition
from tests.chaos.history import History, Note
from tests.chaos.tables import NO_ROOM, Tables
from tests.support.processes import kind_of

#: How a job may have ended when a run is over.
ENDINGS: Final = ("finished", "dead")
#: Transitions after which a job is over.
ENDS: Final = {"completed", "deadlettered", "quarantined", "cancelled", "expired"}
#: Two clocks, ours and Postgres's, may run apart by so much in a lease's time.
_DRIFT_SECONDS: Final = 0.1
#: How long before a death a receiver may have heard of an attempt that died in it: the
#: attempt, and the way of its verdict into the table.
_UNDER_WAY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and by which job."""

    rule: str
    says: str
    job: str = ""


@dataclass
class Story:
    """What was seen of a run."""

    history: History
    tables: Tables
    #: schedule → the ticks that came
    ticks: dict[UUID, set[datetime]] = field(default_factory=dict)
    #: watcher → the positions it should have seen and did not
    unseen: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    #: watcher → what else was wrong with what it saw
    disorder: dict[str, list[str]] = field(default_factory=dict)
    slots: int = 128

    @cached_property
    def accepted(self) -> dict[str, Note]:
        return {note.job: note for note in self.history.of("accepted")}

    @cached_property
    def arrivals(self) -> dict[tuple[str, str], list[Note]]:
        """(webhook-id, path) → what was answered at that path, in order."""
        found: dict[tuple[str, str], list[Note]] = defaultdict(list)
        for note in self.history.of("answered"):
            found[note.job, note["path"]].append(note)
        return found

    @cached_property
    def deaths(self) -> list[tuple[float, float]]:
        """When a pod was dead, or as good as: from, until."""
        found: list[tuple[float, float]] = []
        begun: dict[tuple[str, str], float] = {}
        for note in self.history.of("fault began", "fault ended", "fell", "stopped"):
            if note.what == "fault began":
                begun[note["fault"], note["on"]] = note.at
            elif note.what == "fault ended":
                began = begun.pop((note["fault"], note["on"]))
                if _is_death(note):
                    found.append((began, note.at))
            # Whoever had to be killed while it drained, or fell by itself.
            elif kind_of(note["replica"]) == "delivery" and note["code"] != 0:
                found.append((note.at - _UNDER_WAY_SECONDS, note.at))
        return found


def _is_death(ended: Note) -> bool:
    """Whether pods died, or were cut off or stood still and so were taken for dead."""
    kind = kind_of(ended["on"])
    if ended["fault"] == "nats-partition":
        return kind in {"delivery", "everybody"}
    return kind == "delivery" and ended["fault"] in {"kill", "stop"}


Rule = Callable[[Story], Iterator[Violation]]


def accepted_is_durable(story: Story) -> Iterator[Violation]:
    """Promise 1: what was accepted is there."""
    for job in story.accepted.keys() - story.tables.jobs.keys():
        yield Violation("accepted is durable", "accepted, and not there", job)
    messages = Counter(one.message for one in story.tables.jobs.values() if one.message)
    for note in story.history.of("message"):
        if messages[note.job] != 2:
            says = f"a message to 2 endpoints has {messages[note.job]} deliveries"
            yield Violation("accepted is durable", says, note.job)


def a_key_is_one_job(story: Story) -> Iterator[Violation]:
    """However often a request was repeated, its key made one job."""
    said: dict[str, set[str]] = defaultdict(set)
    for job, note in story.accepted.items():
        if note.facts.get("key"):
            said[note["key"]].add(job)
    for note in story.history.of("flow", "message"):
        said[note["key"]].add(note.facts.get("flow") or note.job)
    for key, jobs in said.items():
        if len(jobs) > 1:
            yield Violation("a key is one job", f"{key}: {sorted(jobs)}")
    there = Counter(one.key for one in story.tables.jobs.values() if one.key)
    for key, times in there.items():
        if times > 1:
            yield Violation("a key is one job", f"{key} stands {times} times")


def everything_ends(story: Story) -> Iterator[Violation]:
    """Promise 6: a job ends, once, and as it was told that it does."""
    for job, standing in story.tables.jobs.items():
        if standing.place not in ENDINGS:
            says = f"after all was mended it is still {standing.place}"
            yield Violation("everything ends", says, job)
        ends = [
            move.transition
            for move in story.tables.moves.get(job, [])
            if move.transition in ENDS
        ]
        if len(ends) != 1 and standing.place in ENDINGS:
            yield Violation("one end", f"its ends: {ends}", job)


def moves_are_legal(story: Story) -> Iterator[Violation]:
    """Promise 4: each move leads from where the job was, to where it stands at last."""
    for job, moves in story.tables.moves.items():
        places: set[object] = {NOWHERE}
        for move in moves:
            legal = MOVES[Transition(move.transition)]
            after = {to for origin, to in legal if origin in places}
            if not after:
                says = f"{move.transition} from {places}"
                yield Violation("moves are legal", says, job)
                break
            places = set(after)
        else:
            standing = story.tables.jobs.get(job)
            if standing is None or standing.place not in {str(one) for one in places}:
                yield Violation("moves are legal", f"stands elsewhere: {places}", job)


def settled_is_settled(story: Story) -> Iterator[Violation]:
    """What a worker was told has ended has, and what was cancelled never ran."""
    for job, notes in story.history.by_job("settled").items():
        done = [one for one in notes if one["ours"] and one["how"] == "completed"]
        standing = story.tables.jobs.get(job)
        ending = standing.ending if standing else "nothing"
        if done and ending != "completed":
            yield Violation("settled is settled", f"completed, and is {ending}", job)
        holders = {one["lease"] for one in done}
        if len(holders) > 1:
            says = f"completed under {len(holders)} leases"
            yield Violation("settled is settled", says, job)
    for note in story.history.of("cancelled"):
        standing = story.tables.jobs.get(note.job)
        if standing is None or standing.ending != "cancelled":
            yield Violation("settled is settled", "cancelled, and is not", note.job)


def one_owner(story: Story) -> Iterator[Violation]:
    """Promise 2: a job has one live lease, and only its holder ends the job."""
    # One claim may get several jobs under one lease.
    claims: dict[str, tuple[str, float]] = {}
    kinds = ("claimed", "renewed", "settled")
    for job, notes in story.history.by_job(*kinds).items():
        leases: dict[str, _Lease] = {}
        for note in notes:
            if note.what == "claimed":
                lease, claim = note["lease"], (note["worker"], note.asked_at)
                if claims.setdefault(lease, claim) != claim or lease in leases:
                    yield Violation("one owner", f"lease {lease} came twice", job)
                leases[lease] = _Lease(note, notes)
        for one, other in combinations(leases.values(), 2):
            if not (one.may_precede(other) or other.may_precede(one)):
                says = f"{one.worker} and {other.worker} had it at once"
                yield Violation("one owner", says, job)
        for note in notes:
            if note.what != "claimed" and note["ours"]:
                for says in _misdeeds(note, leases):
                    yield Violation("one owner", says, job)


def _misdeeds(note: Note, leases: dict[str, "_Lease"]) -> Iterator[str]:
    """Yield why whoever renewed or settled a job could not have been allowed to."""
    own = leases[note["lease"]]
    if note.asked_at > own.over_at:
        yield f"{own.worker} {note.what} it after its lease had run out"
    for other in leases.values():
        later = other is not own and not other.may_precede(own)
        if later and note.asked_at > other.got_at:
            yield f"{own.worker} {note.what} it, which {other.worker} had by then"


class _Lease:
    """When a lease lived: surely from when it was asked for until *live_until*.

    And surely no more from *over_at* on, when a claim or a renewal that was answered
    before cannot have reached.
    """

    def __init__(self, claim: Note, notes: list[Note]) -> None:
        own = [note for note in notes if note["lease"] == claim["lease"]]
        renewed = [
            note for note in own if note.what == "renewed" and note["ours"] is not False
        ]
        self.worker: str = claim["worker"]
        self.got_at = claim.at
        self.live_until = max(
            note.asked_at + note["seconds"]
            for note in [claim, *(one for one in renewed if one["ours"])]
        )
        # Of a renewal that was not answered nobody knows when it was carried out.
        unknown = any(note["ours"] is None for note in renewed)
        self.over_at = max(
            note.at + note["seconds"] + _DRIFT_SECONDS for note in [claim, *renewed]
        ) + (float("inf") if unknown else 0)
        #: From when on it may have been given up: then somebody asked to settle it.
        self.settled_at = min(
            (
                note.asked_at
                for note in own
                if note.what == "settled" and note["ours"] is not False
            ),
            default=float("inf"),
        )

    def may_precede(self, other: "_Lease") -> bool:
        """Whether it may have been over when the other was claimed.

        Answers may be late, so which was first is not said by when they came.
        """
        over_at = min(self.live_until - _DRIFT_SECONDS, self.settled_at)
        return bool(other.got_at >= over_at)


def repeats_have_a_death(story: Story) -> Iterator[Violation]:
    """Promise 3: what was taken comes again only if a pod died while it was under way.

    And all of it no more often than pods died, times what one can have in flight.
    """
    for (job, path), (first, again) in repeats(story):
        since = first["arrived_at"]
        if not any(began < again.at and since < ended for began, ended in story.deaths):
            says = f"{path} took it, and got it again, and no pod had died"
            yield Violation("repeats have a death", says, job)
    bound, found = len(story.deaths) * story.slots, len(list(repeats(story)))
    if found > bound:
        yield Violation("repeats have a death", f"{found} of at most {bound}")


def repeats(story: Story) -> Iterator[tuple[tuple[str, str], tuple[Note, Note]]]:
    """Yield what was sent again after it was taken."""
    for where, notes in story.arrivals.items():
        in_order = sorted(notes, key=lambda note: float(note["arrived_at"]))
        for before, after in pairwise(in_order):
            if before["status"] == 200:
                yield where, (before, after)


def receivers_lose_no_attempt(story: Story) -> Iterator[Violation]:
    """Promise 5: a retry is charged for what a receiver did, never for our faults."""
    failures: Counter[str] = Counter()
    for (job, _), notes in story.arrivals.items():
        failures[job] += sum(1 for note in notes if note["status"] != 200)
    for job, note in story.accepted.items():
        standing = story.tables.jobs.get(job)
        if standing is None or note["kind"] not in {"steady", "flaky", "later", "line"}:
            continue
        if standing.retry_count > failures[job]:
            says = (
                f"{standing.retry_count} retries charged, {failures[job]} times refused"
            )
            yield Violation("receivers lose no attempt", says, job)


def quarantined_for_a_reason(story: Story) -> Iterator[Violation]:
    """Promise 5: who is quarantined saw three deaths; nobody else is given up."""
    for job, note in story.accepted.items():
        standing = story.tables.jobs.get(job)
        if standing is None or standing.place != "dead":
            continue
        if standing.ending == "quarantined":
            if len(story.deaths) < 3:
                yield Violation("quarantined", "fewer than three pods died", job)
        elif note["kind"] != "hostile":
            yield Violation("nobody dies", f"dead: {standing.ending}", job)


def lines_keep_their_order(story: Story) -> Iterator[Violation]:
    """What shares an ordering key arrives in the order in which it was accepted."""
    places: dict[str, tuple[str, int]] = {}
    counts: Counter[str] = Counter()
    for job, note in story.accepted.items():
        if note.facts.get("line"):
            places[job] = note["line"], counts[note["line"]]
            counts[note["line"]] += 1
    reached: dict[str, int] = {}
    for note in story.history.of("arrived"):
        if note.job not in places:
            continue
        line, number = places[note.job]
        if number < reached.get(line, 0):
            says = f"{line}: {number} after {reached[line]}"
            yield Violation("lines keep their order", says, note.job)
        reached[line] = max(number, reached.get(line, 0))


def workflows_keep_their_order(story: Story) -> Iterator[Violation]:
    """A step is begun only after those that it waits for have completed."""
    for job, note in story.accepted.items():
        moves = story.tables.moves.get(job, [])
        started = next((one for one in moves if one.transition == "started"), None)
        if note["kind"] == "mourn" and started:
            yield Violation("workflows", "ran for a failure that was none", job)
        if started is None:
            continue
        for parent in note.facts.get("after", []):
            done = [
                one
                for one in story.tables.moves.get(parent, [])
                if one.transition == "completed"
            ]
            if not done or (done[0].xid, done[0].seq) > (started.xid, started.seq):
                says = f"begun before {parent} had completed"
                yield Violation("workflows", says, job)


def ticks_fire_once(story: Story) -> Iterator[Violation]:
    """Every tick of a schedule is one job, or known to have had no room for it."""
    allowed = {*story.tables.jobs, NO_ROOM}
    for schedule, wanted in story.ticks.items():
        runs = story.tables.runs.get(schedule, {})
        for tick in wanted ^ runs.keys():
            says = "did not fire" if tick in wanted else "fired and is no tick"
            yield Violation("ticks fire once", f"{schedule} {tick}: {says}")
        for tick, jobs in runs.items():
            if len(jobs) != 1 or jobs[0] not in allowed:
                yield Violation("ticks fire once", f"{schedule} {tick}: jobs {jobs}")


def everything_is_told(story: Story) -> Iterator[Violation]:
    """Promise 9: all of the journal reached every watcher, each job's in order."""
    if story.tables.unannounced:
        says = f"{story.tables.unannounced} rows were never announced"
        yield Violation("everything is told", says)
    rows = story.tables.rows
    for watcher, positions in story.unseen.items():
        for position in positions:
            says = f"{watcher} never saw {position}"
            yield Violation("everything is told", says, rows.get(position, ""))
    for watcher, complaints in story.disorder.items():
        for complaint in complaints:
            yield Violation("everything is told", f"{watcher}: {complaint}")


def invariants_hold(story: Story) -> Iterator[Violation]:
    """Promise 4: every job in one place, during the run and when it is over."""
    for name, row in story.tables.broken:
        yield Violation(f"invariant {name}", str(row), str(row.get("job_id") or ""))
    for note in story.history.of("invariant"):
        yield Violation(f"invariant {note['name']}", note["row"], note.job)


def services_stand(story: Story) -> Iterator[Violation]:
    """Promise 10: nobody ends by itself, and whoever is asked to drains."""
    for note in story.history.of("fell"):
        says = f"{note['replica']} ended by itself with code {note['code']}"
        yield Violation("services stand", says)
    for note in story.history.of("503 without Retry-After"):
        yield Violation("services stand", f"503 without Retry-After: {note['path']}")
    for note in story.history.of("bug"):
        yield Violation("services stand", note["says"])


RULES: Final[tuple[Rule, ...]] = (
    accepted_is_durable,
    a_key_is_one_job,
    everything_ends,
    moves_are_legal,
    settled_is_settled,
    one_owner,
    repeats_have_a_death,
    receivers_lose_no_attempt,
    quarantined_for_a_reason,
    lines_keep_their_order,
    workflows_keep_their_order,
    ticks_fire_once,
    everything_is_told,
    invariants_hold,
    services_stand,
)


def check(story: Story) -> list[Violation]:
    """Return all that is broken."""
    return [violation for rule in RULES for violation in rule(story)]
