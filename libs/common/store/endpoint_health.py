"""How endpoints do: counted after every batch, and what follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import column, load

SQL: Final = load(__package__, "endpoint_health")

#: The breaker opens for so long when so many attempts in a row have failed, or so many
#: percent of at least so many within five minutes; and for twice as long each time that
#: its trial fails, up to the longest.
OPEN: Final = timedelta(seconds=30)
OPEN_MAX: Final = timedelta(minutes=10)
FAILURES_IN_A_ROW: Final = 20
ATTEMPTS_MIN: Final = 10
FAILED_PERCENT: Final = 70
#: Whoever fails for so long, and never once does not, is disabled.
PATIENCE: Final = timedelta(days=5)

#: Each is looked for among those told of: so not too many at once.
_TOLD_MAX: Final = 200

#: Why the house itself disables an endpoint.
Reason = Literal["gone", "failing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How the attempts of a batch to one endpoint went.

    *url_version* is the endpoint's when they were made: another URL, or being enabled
    again, makes another one, and of that they say nothing.
    """

    endpoint_id: UUID
    url_version: int
    succeeded: int = 0
    failed: int = 0
    #: Those that failed after the last that did not.
    failed_last: int = 0
    #: How long all of them took.
    duration_ms: float = 0.0
    #: How long the receiver wants to be left alone, 0 when it does not say how long;
    #: None when it does not want that.
    throttle_seconds: float | None = None
    #: The last thing that went wrong.
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """What followed for an endpoint.

    *opened* and *closed* are the breaker's.  *failing_since* is None when the last
    attempt went well; *hopeless*: for longer than `PATIENCE`.
    """

    endpoint_id: UUID
    url_version: int
    opened: bool
    closed: bool
    throttled: bool
    failing_since: datetime | None
    hopeless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """That an endpoint is to get nothing any more, and since when that was clear.

    *url_version*: see `Outcomes`.
    """

    endpoint_id: UUID
    url_version: int
    reason: Reason
    since: datetime


@dataclass(frozen=True, slots=True)
class Disabled:
    """An endpoint that was disabled."""

    endpoint_id: UUID
    organization_id: UUID
    reason: str


async def lock_health(conn: Conn, *, endpoint_ids: Iterable[UUID]) -> None:
    """Let nobody else tell of these endpoints until the transaction ends.

    The last that is locked in it: an organization and an endpoint come before.
    """
    await conn.execute(SQL["lock_health"], sorted(endpoint_ids))


async def note_outcomes(
    conn: Conn, *, outcomes: Sequence[Outcomes], at: datetime | None = None
) -> list[Noted]:
    """Count what happened (*at* a moment, or now); return what followed from it.

    In a transaction that holds how they do (`lock_health`).  Endpoints that are no
    more, or no longer as they were, are left out.
    """
    told = sorted(outcomes, key=lambda each: each.endpoint_id)
    found: list[Noted] = []
    for start in range(0, len(told), _TOLD_MAX):
        some = told[start : start + _TOLD_MAX]
        found += await _note_some(conn, some, at)
    return found


async def _note_some(
    conn: Conn, told: Sequence[Outcomes], at: datetime | None
) -> list[Noted]:
    rows = await conn.fetch(
        SQL["note_outcomes"],
        [each.endpoint_id for each in told],
        [each.succeeded for each in told],
        [each.failed for each in told],
        [each.failed_last for each in told],
        [each.duration_ms for each in told],
        column(each.throttle_seconds for each in told),
        column(each.error for each in told),
        at,
        OPEN,
        FAILURES_IN_A_ROW,
        ATTEMPTS_MIN,
        FAILED_PERCENT,
        OPEN_MAX,
        PATIENCE,
        [each.url_version for each in told],
    )
    return [Noted(*row) for row in rows]


async def lock_owners(conn: Conn, *, endpoint_ids: Iterable[UUID]) -> None:
    """Let nobody else change these endpoints until the transaction ends."""
    await conn.execute(SQL["lock_owners"], sorted(endpoint_ids))


async def disable(conn: Conn, *, verdicts: Sequence[Verdict]) -> list[Disabled]:
    """Disable endpoints, and tell of it; return those that were not disabled before.

    One verdict an endpoint, in a transaction that holds their organizations
    (`lock_owners`).
    """
    told = sorted(verdicts, key=lambda each: each.endpoint_id)
    rows = await conn.fetch(
        SQL["disable"],
        [each.endpoint_id for each in told],
        [each.url_version for each in told],
        [each.reason for each in told],
        [each.since for each in told],
    )
    return [Disabled(*row) for row in rows]


async def forget_minutes(conn: Conn, *, older_than: timedelta, at_most: int) -> int:
    """Delete counts that nobody looks at any more; return how many."""
    return len(await conn.fetch(SQL["forget_minutes"], older_than, at_most))
