"""What becomes of a job after an attempt (pure).

2xx is success and nothing else is: no redirect is followed, no 1xx counts (Standard
Webhooks).  410 says that nobody wants this any more.  Everything else is tried again
while the job has retries left.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from libs.common.backoff import (
    STANDARD_WEBHOOKS,
    delay_seconds,
    parse_retry_after,
    policy_of,
)
from libs.common.db import read_id
from libs.common.messages import Verdict
from libs.common.store.settlement import Death, How, Policy, Settled

GONE: Final = 410
_ERROR_CHARACTERS_MAX: Final = 2048
_BODY_BYTES_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a job goes, and when it comes back."""

    how: How
    delay_seconds: float | None = None
    death: Death | None = None


def is_delivered(verdict: Verdict) -> bool:
    """Return whether the receiver took it."""
    status = verdict.status
    return (
        verdict.sent
        and verdict.error is None
        and status is not None
        and 200 <= status < 300  # noqa: PLR2004 - the range of success
    )


def judge(verdict: Verdict, policy: Policy | None, *, luck: float) -> Settled | None:
    """Return how the attempt is settled; None when its lease is gone.

    *policy* is needed for an attempt that failed; it is None when the job is no
    longer leased so.  *luck* is uniform in [0, 1).
    """
    if not verdict.sent:
        return _settled(verdict, Fate("released"))
    if is_delivered(verdict):
        return _settled(verdict, Fate("completed"))
    if policy is None:
        return None
    return _settled(verdict, _fate_of_failed(verdict, policy, luck=luck))


def _fate_of_failed(verdict: Verdict, policy: Policy, *, luck: float) -> Fate:
    if verdict.status == GONE:
        return Fate("deadlettered", death="gone")
    if policy.retry_count >= policy.max_retries:
        return Fate("deadlettered", death="attempts_exhausted")
    chosen = policy_of(policy.retry, policy.knobs)
    if chosen is None and policy.to_endpoint:
        chosen = STANDARD_WEBHOOKS
    delay = delay_seconds(
        chosen,
        retry_count=policy.retry_count,
        luck=luck,
        retry_after_seconds=parse_retry_after(
            verdict.retry_after, now=datetime.now(UTC)
        ),
    )
    return Fate("retrying", delay_seconds=delay)


def _settled(verdict: Verdict, fate: Fate) -> Settled:
    error = verdict.error
    if error is None and fate.how in ("retrying", "deadlettered"):
        error = f"HTTP {verdict.status}"
    headers = verdict.headers
    return Settled(
        job_id=read_id(verdict.job_id),
        lease_id=read_id(verdict.lease_id),
        how=fate.how,
        delay_seconds=fate.delay_seconds,
        death=fate.death,
        status_code=verdict.status,
        error=None if error is None else _storable(error)[:_ERROR_CHARACTERS_MAX],
        duration_ms=verdict.duration_ms,
        ended_ms_ago=verdict.ended_ms_ago,
        response_headers=(
            None
            if headers is None
            else orjson.dumps(
                {_storable(name): _storable(value) for name, value in headers.items()}
            ).decode()
        ),
        response_body=verdict.body[:_BODY_BYTES_MAX] if verdict.sent else None,
    )


def _storable(text: str) -> str:
    """Return what a stranger wrote as Postgres can hold it."""
    return text.replace("\x00", "\ufffd")
