"""What a run shows: progress while it goes on, figures and violations in the end."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from tests.chaos.history import Note
from tests.chaos.rules import Story, Violation, repeats

#: How many violations of each rule are shown with their whole history.
_SHOWN_MAX = 3


def progress(story_counts: Counter[str], *, elapsed: float, of: float) -> str:
    """Return one line."""
    names = ("accepted", "answered", "claimed", "settled", "fault began", "started")
    counts = ", ".join(f"{name} {story_counts[name]}" for name in names)
    return f"{elapsed:6.0f} of {of:.0f} s: {counts}"


def figures(story: Story, *, seed: int, seconds: float, replicas: int) -> str:
    """Return what was done, and what became of it, as a table."""
    history, tables = story.history, story.tables
    faults = Counter(note["fault"] for note in history.of("fault began"))
    kinds = Counter(note["kind"] for note in story.accepted.values())
    ends = Counter(
        one.ending if one.place in {"finished", "dead"} else f"open: {one.place}"
        for one in tables.jobs.values()
    )
    refused = Counter(
        {
            name: times
            for name, times in history.counts.items()
            if name.startswith(("unanswered", "answered "))
        }
    )
    sent_again = list(repeats(story))
    waits = sorted(_waits(story))
    stale = sum(1 for note in history.of("settled") if note["ours"] is False)
    rows = [
        (
            "seed, seconds, replicas of each service",
            f"{seed}, {seconds:.0f}, {replicas}",
        ),
        ("faults", _counted(faults)),
        ("processes started", history.counts["started"]),
        ("jobs accepted", f"{len(story.accepted)}: {_counted(kinds)}"),
        ("messages accepted", history.counts["message"]),
        ("jobs there", f"{len(tables.jobs)}: {_counted(ends)}"),
        ("requests that receivers got", history.counts["arrived"]),
        (
            "sent again after it was taken",
            f"{len(sent_again)} of at most {len(story.deaths) * story.slots}"
            f" ({len(story.deaths)} deaths times {story.slots} in flight)",
        ),
        ("from a pod's death until it was sent again", _spread(waits)),
        ("jobs handed to workers", history.counts["claimed"]),
        ("settled too late, and refused", stale),
        ("ticks of schedules", sum(map(len, story.ticks.values()))),
        ("rows of the journal", len(tables.rows)),
        ("looks at the invariants meanwhile", history.counts["looked"]),
        ("requests of producers and workers without a yes", _counted(refused)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def complaint(violations: Sequence[Violation], story: Story) -> str:
    """Return all violations, counted, and the first with their whole history."""
    lines = [_counted(Counter(one.rule for one in violations))]
    shown: Counter[str] = Counter()
    for violation in violations:
        shown[violation.rule] += 1
        if shown[violation.rule] > _SHOWN_MAX:
            continue
        lines += ["", f"{violation.rule}: {violation.says}  {violation.job}"]
        lines += story_of(violation.job, story) if violation.job else []
    return "\n".join(lines)


def story_of(job: str, story: Story) -> list[str]:
    """Return everything that was seen of a job, and what the tables say of it."""
    began = story.history.notes[0].at
    lines = [
        f"    {note.at - began:8.3f} s  {note.what} {_facts(note, began)}"
        for note in story.history.notes
        if note.job == job
    ]
    standing = story.tables.jobs.get(job)
    lines.append(f"    stands: {standing}")
    lines += [
        f"    {move.at:%H:%M:%S.%f}  {move.transition}, attempt {move.attempt},"
        f" {move.actor or 'nobody'} ({move.xid}, {move.seq})"
        for move in story.tables.moves.get(job, [])
    ]
    return lines


def _facts(note: Note, began: float) -> str:
    asked = f"asked at {note.asked_at - began:.3f} s" if note.asked_at else ""
    facts = {
        name: round(value - began, 3) if name.endswith("_at") else value
        for name, value in note.facts.items()
    }
    return f"{asked} {facts or ''}".strip()


def _waits(story: Story) -> list[float]:
    """Return how long after a death each job came again that had been taken."""
    found = []
    for _, (first, again) in repeats(story):
        deaths = [
            began for began, _ in story.deaths if first["arrived_at"] < began < again.at
        ]
        found += [again["arrived_at"] - deaths[0]] if deaths else []
    return found


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "no such"
    middle, longest = seconds[len(seconds) // 2], seconds[-1]
    return f"p50 {middle:.1f} s, longest {longest:.1f} s"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in counts.most_common()) or "-"


def lasted(seconds: float) -> str:
    """Return a time as people say it."""
    return str(timedelta(seconds=round(seconds)))
