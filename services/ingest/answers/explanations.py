"""Why a job is not running, in a word and in a sentence."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.keeping_back import Known, Reason, Why, gates


class OpenParent(TypedDict):
    """A job that another waits for."""

    job_id: str
    key: str | None
    """What its workflow calls it; null when it belongs to none."""
    queue_name: str
    status: str
    dependency_type: Literal["success", "completion", "failure"]
    """That it completes, that it ends, or that it fails."""


class LineStanding(TypedDict):
    """How a job stands among those that share its key."""

    key: str
    called: bool
    """Whether it is its turn."""
    before: int
    """How many come before it; 10 000 is so many or more."""
    concurrency: int
    """How many of the key may run at once."""
    holders: list[str]
    """Whose turn it is."""


class Explanation(TypedDict):
    """Why a job is not running; or that it is, or how it ended."""

    job_id: str
    place: Literal[
        "ready", "scheduled", "waiting", "held", "leased", "finished", "dead"
    ]
    """Where it stands."""
    reason: Reason
    """Why, in a word."""
    message: str
    """Why, in a sentence."""
    until: datetime | None
    """When that is over by itself; null when nobody knows."""
    before: int | None
    """How many of its lane come before it, if it is ready; 1 000 is so many or more."""
    parents: list[OpenParent]
    """The first hundred of the jobs that it waits for."""
    dependency_mode: str | None
    """Whether it waits for ``all`` of them, or for ``any``; null when it does not."""
    line: LineStanding | None
    """How it stands among those that share its key, if it has one."""


def explanation(job_id: UUID, known: Known) -> Explanation:
    """Return why a job is not running."""
    row, parents, turn = known.row, known.parents, known.turn
    reason, message, until = _why(known)
    return {
        "job_id": str(job_id),
        "place": row["place"],
        "reason": reason,
        "message": message,
        "until": until,
        "before": row["before"],
        "parents": [
            {
                "job_id": str(one["id"]),
                "key": one["key"],
                "queue_name": one["queue_name"],
                "status": one["status"],
                "dependency_type": one["kind"],
            }
            for one in parents
        ],
        "dependency_mode": parents[0]["mode"] if parents else None,
        "line": None
        if turn is None
        else {
            "key": turn.key,
            "called": turn.called,
            "before": turn.before,
            "concurrency": turn.width,
            "holders": [str(one) for one in turn.holders],
        },
    }


def _why(known: Known) -> Why:
    row = known.row
    match row["place"]:
        case "leased":
            why: Why = (
                "running",
                f"{row['owner']} is working on it",
                row["deadline"],
            )
        case "dead":
            words = f"It was given up ({row['ending']}): {row['last_error']}"
            why = ("dead", words, None)
        case "finished":
            why = _ended(row)
        case "waiting":
            why = _waiting(known.parents)
        case "scheduled":
            why = _scheduled(row)
        case "held":
            why = _held(known)
        case _:
            why = gates(known) or _next(known)
    return why


def _scheduled(row: Row) -> Why:
    when = f"{row['run_at']:%Y-%m-%d %H:%M:%S} UTC"
    if row["retry_count"]:
        return "retry_scheduled", f"It is tried again at {when}", row["run_at"]
    return "scheduled", f"It is not to run before {when}", row["run_at"]


def _ended(row: Row) -> Why:
    if row["ending"] == "completed":
        return "completed", "It has completed", None
    if row["ending"] == "expired":
        return "expired", "It was not begun in time", None
    why = {
        "parent_failed": "a job that it waited for did not complete",
        "not_needed": "it was for the failure of a job that did not fail",
        "workflow_cancelled": "its workflow was cancelled",
        "workflow_failed": "its workflow fails at once, and another job has failed",
        "endpoint_deleted": "its endpoint was deleted",
        "schedule": "its schedule began another run",
    }.get(row["cancelled_for"], "by hand")
    return "cancelled", f"It was cancelled: {why}", None


def _waiting(parents: Sequence[Row]) -> Why:
    names = [one["key"] or str(one["id"]) for one in parents[:5]]
    if not names:
        return "waits_for_parents", "It waits for other jobs", None
    more = ", …" if len(parents) > len(names) else ""
    one_of = "any of " if parents[0]["mode"] == "any" and len(parents) > 1 else ""
    words = f"It waits for {one_of}{', '.join(names)}{more}"
    return "waits_for_parents", words, None


def _held(known: Known) -> Why:
    turn = known.turn
    if turn is not None and not turn.called:
        words = (
            f"It waits for its turn: {turn.before} of its key come before it, "
            f"and {len(turn.holders)} of {turn.width} are under way"
        )
        return "waits_for_turn", words, None
    return gates(known) or ("held", f"It is held: {known.row['held_for']}", None)


def _next(known: Known) -> Why:
    row = known.row
    if row["push"] and not known.nats_is_up:
        return "waits_for_nats", "It is ready, and is sent when NATS is back", None
    before = row["before"]
    if before:
        words = f"It is ready; {before} jobs come before it"
        return "waits_for_others", words, None
    if row["push"]:
        words = "It is ready, and the next to be sent when a pod has room"
        return "waits_for_delivery", words, None
    words = f"It is ready, and the next for a worker of the queue {row['queue_name']}"
    return "waits_for_worker", words, None
