"""What keeps back a job that is ready: its queue, its endpoint, and their limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from libs.common.db import Row
from libs.common.store.limits import Room
from libs.common.store.lines import Turn

Reason = Literal[
    "running",
    "completed",
    "cancelled",
    "expired",
    "dead",
    "waits_for_parents",
    "waits_for_turn",
    "held",
    "scheduled",
    "retry_scheduled",
    "queue_paused",
    "endpoint_deleted",
    "endpoint_disabled",
    "endpoint_breaker_open",
    "endpoint_on_trial",
    "endpoint_throttled",
    "endpoint_concurrency",
    "endpoint_retries",
    "endpoint_rate_limit",
    "queue_concurrency",
    "queue_rate_limit",
    "waits_for_others",
    "waits_for_worker",
    "waits_for_delivery",
    "waits_for_nats",
]
#: Why, in a word and in a sentence, and until when.
Why = tuple[Reason, str, datetime | None]

#: Where the endpoint lets nothing pass, its part for retries says little.
_WIDEST: Final = ("endpoint", "retries", "queue")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a job that may be why it does not run."""

    #: Its circumstances (`explanations.read_circumstances`).
    row: Row
    #: Those that it waits for still.
    parents: Sequence[Row]
    turn: Turn | None
    #: What room its gates have.
    rooms: Sequence[Room]
    #: Without it no webhook is sent.
    nats_is_up: bool


def gates(known: Known) -> Why | None:
    """Return what lets no job of its queue, or to its endpoint, begin."""
    row = known.row
    if row["paused"]:
        why = f": {row['paused_for']}" if row["paused_for"] else ""
        return "queue_paused", f"The queue {row['queue_name']} is paused{why}", None
    if row["endpoint_id"] is not None:
        found = _endpoint(row)
        if found is not None:
            return found
    for room in sorted(known.rooms, key=lambda room: _WIDEST.index(room.gate.kind)):
        found = _room(row, room)
        if found is not None:
            return found
    return None


def _endpoint(row: Row) -> Why | None:
    """Return why its endpoint gets nothing at all."""
    if row["endpoint_deleted"] or row["endpoint_enabled"] is None:
        return "endpoint_deleted", "Its endpoint was deleted", None
    if not row["endpoint_enabled"]:
        why = f" ({row['disabled_reason']})" if row["disabled_reason"] else ""
        return "endpoint_disabled", f"Its endpoint is disabled{why}", None
    now, open_until, throttled_until = (
        row[name] for name in ("asked_at", "open_until", "throttled_until")
    )
    if open_until is not None and open_until > now:
        words = "Its endpoint has failed too often: its breaker is open"
        return "endpoint_breaker_open", words, open_until
    if throttled_until is not None and throttled_until > now:
        words = "Its endpoint has asked for less"
        return "endpoint_throttled", words, throttled_until
    return None


def _room(row: Row, room: Room) -> Why | None:
    """Return why a gate of its lane lets nothing pass, if it does not."""
    if room.places is not None and room.places <= 0:
        return (*_full(row, room), None)
    if room.starts is not None and room.starts <= 0:
        if room.gate.kind == "queue":
            reason: Reason = "queue_rate_limit"
            words = f"The queue begins {row['rate_limit']} jobs per second at most"
        else:
            reason = "endpoint_rate_limit"
            rate = row["rate_limit_per_second"]
            words = f"Its endpoint gets {rate:g} requests per second at most"
        return reason, words, row["asked_at"] + _seconds(room.next_start_seconds)
    return None


def _full(row: Row, room: Room) -> tuple[Reason, str]:
    """Return why a gate has no place for one more at once."""
    if room.gate.kind == "queue":
        words = f"The queue has {row['concurrency']} jobs in work, which is its limit"
        return "queue_concurrency", words
    if room.gate.kind == "retries":
        words = (
            "Its endpoint gets as many retries at once as leave room for what is new"
        )
        return "endpoint_retries", words
    if row["open_until"] is not None:
        words = "Its endpoint has failed too often: one request shows if it is well"
        return "endpoint_on_trial", words
    limit = row["max_concurrency"]
    words = f"Its endpoint gets {limit} requests at once, which is its limit"
    return "endpoint_concurrency", words


def _seconds(seconds: float | None) -> timedelta:
    return timedelta(seconds=max(seconds or 0.0, 0.0))
