"""Plans: how much of everything an organization may have (contract 4.4) (pure).

A plan is what its tier says, then what the operator says of the tier
(``BELLHOP_PLAN_LIMITS``), then what the organization itself was given
(``custom_limits``).  None is no limit.  Enterprise has none at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.common.errors import FeatureDisabled, QuotaExceeded

#: What the operator says of the tiers: tier → limit → value.
PlanLimits = Mapping[str, Mapping[str, Any]]

#: What a plan counts, by the contract's names (1.0).
Resource = Literal[
    "jobs_per_day",
    "active_jobs",
    "queues",
    "workers",
    "api_keys",
    "schedules",
    "workflows",
    "webhooks",
]

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_KILOBYTE: Final = 1024


class Limits(BaseModel):
    """What one plan allows; rates are requests per second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_jobs_per_day: Count | None = None
    """Jobs created in one day (UTC); null is no limit."""
    max_active_jobs: Count | None = None
    """Jobs that are not over; null is no limit."""
    max_queues: Count | None = None
    """Queues, configured or in use; null is no limit."""
    max_workers: Count | None = None
    """Workers that are up; null is no limit."""
    max_api_keys: Count | None = None
    """Keys that are active; null is no limit."""
    max_schedules: Count | None = None
    """Schedules that fire; null is no limit."""
    max_workflows: Count | None = None
    """Workflows that are not over; null is no limit, 0 is disabled."""
    max_webhooks: Count | None = None
    """Endpoints and outgoing webhooks that are enabled; null is no limit."""
    max_payload_size_bytes: Count = 1024 * _KILOBYTE
    """The largest payload; of a job that is created, 1 MiB whatever the plan says."""
    rate_limit_requests_per_second: Count | None = None
    """Requests per second in the long run; null is no limit."""
    rate_limit_burst: Count | None = None
    """Requests at once, before the rate holds; null is no limit."""
    job_retention_days: Count = 90
    """How many days jobs can be read after they ended; dead letters stay."""
    history_retention_days: Count = 90
    """The same of their attempts and transitions, if that is shorter."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An organization's plan: its tier, and its limits after all that was said."""

    tier: str
    limits: Limits
    #: The next tier up, for who runs into a limit; None at the top.
    upgrade_to: str | None = None

    @property
    def unlimited(self) -> bool:
        """Whether no job has to be counted for it."""
        limits = self.limits
        return (
            limits.max_jobs_per_day is None
            and limits.max_active_jobs is None
            and limits.max_queues is None
        )

    def require(self, resource: Resource, *, after: int) -> None:
        """Raise `QuotaExceeded` when *after* (one more) is more than the plan allows.

        0 allowed of something is not a limit that was reached: `FeatureDisabled`.
        """
        limit: int | None = getattr(self.limits, f"max_{resource}")
        if limit is None or after <= limit:
            return
        if limit == 0:
            raise FeatureDisabled(f"{resource} are not part of the {self.tier} plan")
        raise QuotaExceeded(
            resource=resource,
            current=after - 1,
            limit=limit,
            plan=self.tier,
            upgrade_to=self.upgrade_to,
        )


TIERS: Final[Mapping[str, Limits]] = {
    "free": Limits(
        max_jobs_per_day=1_000,
        max_active_jobs=10,
        max_queues=2,
        max_workers=1,
        max_api_keys=2,
        max_schedules=1,
        max_workflows=0,
        max_webhooks=1,
        max_payload_size_bytes=64 * _KILOBYTE,
        rate_limit_requests_per_second=5,
        rate_limit_burst=10,
        job_retention_days=3,
        history_retention_days=1,
    ),
    "starter": Limits(
        max_jobs_per_day=10_000,
        max_active_jobs=500,
        max_queues=10,
        max_workers=5,
        max_api_keys=5,
        max_schedules=10,
        max_workflows=5,
        max_webhooks=5,
        max_payload_size_bytes=256 * _KILOBYTE,
        rate_limit_requests_per_second=25,
        rate_limit_burst=50,
        job_retention_days=14,
        history_retention_days=7,
    ),
    "pro": Limits(
        max_jobs_per_day=100_000,
        max_active_jobs=5_000,
        max_queues=50,
        max_workers=25,
        max_api_keys=25,
        max_schedules=50,
        max_workflows=25,
        max_webhooks=20,
        rate_limit_requests_per_second=100,
        rate_limit_burst=200,
        job_retention_days=30,
        history_retention_days=30,
    ),
    "enterprise": Limits(max_payload_size_bytes=5 * 1024 * _KILOBYTE),
}
DISPLAY_NAMES: Final = {
    "free": "Free",
    "starter": "Starter",
    "pro": "Pro",
    "enterprise": "Enterprise",
}
_ORDER: Final = tuple(TIERS)


def plan_of(
    tier: str,
    *,
    custom_limits: Mapping[str, Any] | None = None,
    operator: PlanLimits | None = None,
) -> Plan:
    """Return the plan of an organization on *tier*; an unknown tier is the first.

    *operator* is what the operator says of the tiers, *custom_limits* what the
    organization was given.  Raises pydantic's ``ValidationError`` for limits that are
    none.
    """
    known = tier if tier in TIERS else _ORDER[0]
    said = TIERS[known].model_dump()
    said |= (operator or {}).get(known, {})
    said |= custom_limits or {}
    place = _ORDER.index(known)
    return Plan(
        tier=tier,
        limits=Limits.model_validate(said),
        upgrade_to=_ORDER[place + 1] if place + 1 < len(_ORDER) else None,
    )


def operator_limits(given: object) -> PlanLimits:
    """Return what the operator says of the tiers, checked.

    *given* is a mapping or the text of a JSON object: tier → limit → number or null.
    Raises `ValueError` that names the tier and the limit.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not valid JSON: {error}") from error
    if not isinstance(given, Mapping):
        raise ValueError("must be an object: tier, limit, value")  # noqa: TRY004
    for tier, limits in given.items():
        if tier not in TIERS:
            raise ValueError(f"{tier}: is no plan; plans are {', '.join(TIERS)}")
        if not isinstance(limits, Mapping):
            raise ValueError(f"{tier}: must be an object of limits")  # noqa: TRY004
        try:
            Limits.model_validate(limits)
        except ValidationError as errors:
            found = [
                f"{tier}.{'.'.join(map(str, error['loc']))}: {error['msg']}"
                for error in errors.errors(include_url=False)
            ]
            raise ValueError("; ".join(found)) from errors
    return given
