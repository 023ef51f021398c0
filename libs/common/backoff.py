"""How long to wait before the next attempt (pure).

A policy belongs to a job, else to its endpoint, else to its queue (`policy_of`).
Without one it is `STANDARD_WEBHOOKS` for endpoints, and for all others 1, 2, 4, … 60
seconds (contract 4.2).  Jitter only ever adds: an attempt may be late, never early
(Standard Webhooks, "retries over multiple days, with random jitter").  A receiver's
``Retry-After`` moves an attempt later, never earlier, and at most to 24 hours
(RFC 9110, section 10.2.3).
"""

import json
import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

#: The longest wait anybody can ask for, in seconds: a policy or a ``Retry-After``.
DELAY_SECONDS_MAX: Final = 86_400

Seconds = Annotated[float, Field(ge=0, le=DELAY_SECONDS_MAX, allow_inf_nan=False)]


class Exponential(BaseModel):
    """``initial_seconds · factor^retry``, at most ``max_seconds``, plus jitter.

    ``jitter`` is the largest part of the delay that chance may add: 0.1 is 10 %.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Literal["exponential"]
    """Each delay is the one before times ``factor``."""
    initial_seconds: Seconds = 1.0
    """The delay before the first retry."""
    factor: float = Field(default=2.0, ge=1, le=10, allow_inf_nan=False)
    """What each delay is multiplied by for the next."""
    max_seconds: Seconds = 3600.0
    """The longest delay, without jitter."""
    jitter: float = Field(default=0.1, ge=0, le=1, allow_inf_nan=False)
    """The largest part of a delay that chance may add: 0.1 is 10 %."""


class Schedule(BaseModel):
    """The delay before each retry in turn; the last one repeats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Literal["schedule"]
    """The delays are listed."""
    schedule_seconds: list[Seconds] = Field(min_length=1, max_length=100)
    """The delay before each retry in turn, in seconds; the last one repeats."""
    jitter: float = Field(default=0.1, ge=0, le=1, allow_inf_nan=False)
    """The largest part of a delay that chance may add: 0.1 is 10 %."""


RetryPolicy = Annotated[Exponential | Schedule, Field(discriminator="strategy")]

_ADAPTER: Final[TypeAdapter[Exponential | Schedule]] = TypeAdapter(RetryPolicy)

#: The delays that Standard Webhooks suggests after a first attempt at once: 5 s, 5 min,
#: 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, three days in all.
STANDARD_WEBHOOKS: Final = Schedule(
    strategy="schedule",
    schedule_seconds=[5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
    jitter=0.1,
)
#: How often what goes to an endpoint is tried again when nobody says it.
STANDARD_RETRIES: Final = len(STANDARD_WEBHOOKS.schedule_seconds)

#: Contract 4.2: min(2^min(n, 6), 60) seconds and up to half a second on top.
_CONTRACT_JITTER_SECONDS: Final = 0.499
_CONTRACT_SECONDS_MAX: Final = 60.0


def read_policy(text: str | bytes) -> Exponential | Schedule:
    """Return the policy that *text* (JSON) spells; it was checked when it came in."""
    return _ADAPTER.validate_json(text)


def delay_seconds(
    policy: Exponential | Schedule | None,
    *,
    retry_count: int,
    luck: float,
    retry_after_seconds: float | None = None,
) -> float:
    """Return the seconds until the next attempt.

    *retry_count* is how many retries came before the one being planned (0 for the
    first), *luck* is uniform in [0, 1).
    """
    match policy:
        case None:
            planned = min(2.0 ** min(retry_count, 6), _CONTRACT_SECONDS_MAX)
            planned += luck * _CONTRACT_JITTER_SECONDS
        case Exponential():
            planned = _exponential(policy, retry_count) * (1 + luck * policy.jitter)
        case Schedule(schedule_seconds=steps):
            step = steps[min(retry_count, len(steps) - 1)]
            planned = step * (1 + luck * policy.jitter)
    asked = min(retry_after_seconds or 0.0, DELAY_SECONDS_MAX)
    return max(planned, asked)


def _exponential(policy: Exponential, retry_count: int) -> float:
    try:
        grown: float = policy.initial_seconds * policy.factor**retry_count
    except OverflowError:
        grown = policy.max_seconds
    return min(grown, policy.max_seconds)


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for, or None if it asks nothing.

    Both forms of RFC 9110 are read: seconds, and an HTTP date (relative to *now*).
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # A number nobody could mean (hundreds of digits) must not cost time to read.
        return float(value[:10])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def policy_of(retry: str | None, knobs: str | None) -> Exponential | Schedule | None:
    """Return the policy that *retry* spells, else the one that *knobs* make up.

    *knobs* are a queue's simple settings (JSON object): ``retry_delay_ms``,
    ``backoff_multiplier`` and ``max_retry_delay_ms`` (contract 6).  What is absent
    there is as in contract 4.2; what is no number is taken as absent, what is out of
    range is moved into it, because nobody checked it when it came in.
    """
    if retry is not None:
        return read_policy(retry)
    given = _numbers(knobs)
    if not given:
        return None
    initial = _within(given.get("retry_delay_ms", 1000.0) / 1000, 0, DELAY_SECONDS_MAX)
    most = given.get("max_retry_delay_ms")
    return Exponential(
        strategy="exponential",
        initial_seconds=initial,
        factor=_within(given.get("backoff_multiplier", 2.0), 1, 10),
        max_seconds=(
            max(initial, _CONTRACT_SECONDS_MAX)
            if most is None
            else _within(most / 1000, 0, DELAY_SECONDS_MAX)
        ),
    )


def _numbers(knobs: str | None) -> dict[str, float]:
    """Return the members of a JSON object that are finite numbers."""
    found = {} if knobs is None else json.loads(knobs, parse_int=float)
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, float) and math.isfinite(value)
    }


def _within(value: float, least: float, most: float) -> float:
    return max(least, min(value, most))
