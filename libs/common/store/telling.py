"""Who is told what happens: read and counted in the transaction that tells it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load
from libs.common.store.journal import Entry, Position

SQL: Final = load(__package__, "telling")

#: A row begins with what stands in the journal.
_OF_ENTRY: Final = len(Entry.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An outgoing webhook that wants to be told; *retry* is JSON or None."""

    id: UUID
    organization_id: UUID
    event_types: Sequence[str]
    format: str
    max_retries: int
    retry: str | None


class Doorstep(NamedTuple):
    """Where to tell of a job's end: the URL, and whom it reaches."""

    url: str
    origin: str


@dataclass(slots=True)
class Audience:
    """Who wants to be told: webhooks by organization, URLs by the job that ended."""

    webhooks: dict[UUID, list[Webhook]] = field(default_factory=dict)
    completions: dict[UUID, Doorstep] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return bool(self.webhooks or self.completions)


class Outcome(NamedTuple):
    """How a webhook's deliveries went lately.

    *failures* were given up since one *arrived*, or in all when none did.
    """

    endpoint_id: UUID
    arrived: bool
    failures: int
    last_status: str
    at: datetime


async def read_told(conn: Conn) -> Position:
    """Return how far the journal was told."""
    row = await conn.fetchrow(SQL["read_told"])
    if row is None:
        raise LookupError("the table announced has lost its row")
    return Position(row["xid"], row["seq"])


async def read_untold(
    conn: Conn, *, after: Position, limit: int, ends: Collection[str]
) -> tuple[list[Entry], int]:
    """Return what comes next after a position and may concern somebody, and the last.

    *limit* transitions are looked at, at most; how many were is returned as well.
    *ends* are the transitions that end a job.
    """
    rows = await conn.fetch(SQL["read_untold"], after.xid, after.seq, limit, list(ends))
    looked_at = rows[0]["looked_at"] if rows else 0
    return [Entry(*row[:_OF_ENTRY]) for row in rows], looked_at


async def note_told(
    conn: Conn, *, before: Position, upto: Position, alone: bool
) -> bool:
    """Remember that the journal was told up to a point.

    Returns False, and does nothing, when it was not told exactly up to *before*.
    *alone* says that the transaction does nothing else.
    """
    moved = await conn.fetchval(
        SQL["note_told"], upto.xid, upto.seq, before.xid, before.seq, alone
    )
    return moved is not None


async def find_audience(
    conn: Conn, *, organization_ids: Collection[UUID], ended: Collection[UUID]
) -> Audience:
    """Return who in these organizations, or of these jobs' ends, wants to be told."""
    audience = Audience()
    for row in await conn.fetch(
        SQL["find_audience"], list(organization_ids), list(ended)
    ):
        id_, organization_id, *_, url, origin = row
        if organization_id is None:
            audience.completions[id_] = Doorstep(url, origin)
        else:
            webhook = Webhook(*list(row)[:-2])
            audience.webhooks.setdefault(organization_id, []).append(webhook)
    return audience


async def read_results(conn: Conn, *, job_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the results (JSON) of those of these jobs that completed with one."""
    rows = await conn.fetch(SQL["read_results"], list(job_ids))
    return {row["job_id"]: row["result"] for row in rows}


async def note_outcomes(
    conn: Conn, *, outcomes: Sequence[Outcome], reason: str, failures_max: int
) -> list[UUID]:
    """Count how deliveries went; disable, for *reason*, who fails all the time.

    Returns the organizations of the webhooks that were disabled.
    """
    in_order = sorted(outcomes)
    rows = await conn.fetch(
        SQL["note_outcomes"],
        [outcome.endpoint_id for outcome in in_order],
        [outcome.arrived for outcome in in_order],
        [outcome.failures for outcome in in_order],
        [outcome.last_status for outcome in in_order],
        [outcome.at for outcome in in_order],
        reason,
        failures_max,
    )
    return [row["organization_id"] for row in rows]
