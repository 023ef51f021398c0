"""What verdicts say of the endpoints they come from (pure)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.backoff import DELAY_SECONDS_MAX, parse_retry_after
from libs.common.ids import parse_id
from libs.common.messages import Verdict
from libs.common.store.endpoint_health import Outcomes
from libs.common.store.settlement import Settled
from services.dispatcher.judgement import GONE, is_delivered

#: Too many requests, bad gateway, gateway time-out (Standard Webhooks).
_THROTTLING: Final = (429, 502, 504)


def outcomes_of(
    told: Iterable[tuple[Verdict, Settled]], *, now: datetime
) -> list[Outcomes]:
    """Return how attempts went, in one row for each endpoint.

    One row, that is, for each of its `url_version`.  *told* are attempts in their order
    that were settled.  What was not sent, or went to a URL that nobody configured, says
    nothing.
    """
    found: dict[tuple[UUID, int], Outcomes] = {}
    for verdict, settled in told:
        endpoint_id = _endpoint_of(verdict)
        if endpoint_id is not None:
            key = endpoint_id, verdict.url_version
            so_far = found.get(
                key,
                Outcomes(endpoint_id=endpoint_id, url_version=verdict.url_version),
            )
            found[key] = _with(so_far, verdict, settled, now=now)
    return list(found.values())


def gone(told: Iterable[tuple[Verdict, Settled]]) -> dict[UUID, int]:
    """Return the endpoints that said that they want nothing any more.

    With each its latest `url_version` that said so.
    """
    found: dict[UUID, int] = {}
    for verdict, _ in told:
        if verdict.status == GONE and (endpoint_id := _endpoint_of(verdict)):
            found[endpoint_id] = max(verdict.url_version, found.get(endpoint_id, 0))
    return found


def _endpoint_of(verdict: Verdict) -> UUID | None:
    if not verdict.sent or verdict.endpoint_id is None:
        return None
    return parse_id(verdict.endpoint_id)


def _with(
    so_far: Outcomes, verdict: Verdict, settled: Settled, *, now: datetime
) -> Outcomes:
    duration_ms = so_far.duration_ms + verdict.duration_ms
    if is_delivered(verdict):
        return Outcomes(
            endpoint_id=so_far.endpoint_id,
            url_version=so_far.url_version,
            succeeded=so_far.succeeded + 1,
            failed=so_far.failed,
            duration_ms=duration_ms,
            throttle_seconds=so_far.throttle_seconds,
            error=so_far.error,
        )
    asked = _throttle_seconds(verdict, now=now)
    before = so_far.throttle_seconds
    return Outcomes(
        endpoint_id=so_far.endpoint_id,
        url_version=so_far.url_version,
        succeeded=so_far.succeeded,
        failed=so_far.failed + 1,
        failed_last=so_far.failed_last + 1,
        duration_ms=duration_ms,
        throttle_seconds=before if asked is None else max(asked, before or 0.0),
        error=settled.error,
    )


def _throttle_seconds(verdict: Verdict, *, now: datetime) -> float | None:
    """Return how long the receiver wants to be left alone; None: it does not."""
    asked = parse_retry_after(verdict.retry_after, now=now)
    if asked is not None:
        return min(asked, float(DELAY_SECONDS_MAX))
    return 0.0 if verdict.status in _THROTTLING else None
