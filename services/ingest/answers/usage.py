"""How much an organization has of what its plan allows (contract 1.3, 4.4)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final, Literal

from typing_extensions import TypedDict

from libs.common.plans import DISPLAY_NAMES, Plan
from libs.common.store.usage import Usage

#: How clients that need a number are told that there is no limit (2³¹ - 1).
NO_RATE_LIMIT: Final = 2_147_483_647
_WARNING_PERCENT: Final = 80.0
_WARNING_PERCENT_FREE: Final = 50.0
_FULL_PERCENT: Final = 100.0
#: What is counted, and the limit it is held against.
_LIMITS: Final = {
    "jobs_today": "max_jobs_per_day",
    "active_jobs": "max_active_jobs",
    "queues": "max_queues",
    "workers": "max_workers",
    "api_keys": "max_api_keys",
    "schedules": "max_schedules",
    "workflows": "max_workflows",
    "webhooks": "max_webhooks",
}


class PlanLimits(TypedDict):
    """What a plan allows; null is no limit, and of rates 2147483647."""

    tier: str
    display_name: str
    max_jobs_per_day: int | None
    """Jobs created in one day (UTC)."""
    max_active_jobs: int | None
    """Jobs that are not over."""
    max_queues: int | None
    max_workers: int | None
    max_api_keys: int | None
    max_schedules: int | None
    """Schedules that fire."""
    max_workflows: int | None
    """Workflows that are not over; null is no limit."""
    max_webhooks: int | None
    """Endpoints and outgoing webhooks that are enabled."""
    max_payload_size_bytes: int
    """The largest payload of a job."""
    rate_limit_requests_per_second: int
    """Requests per second in the long run; 2147483647 is no limit."""
    rate_limit_burst: int
    """Requests at once, before the rate holds; 2147483647 is no limit."""
    job_retention_days: int
    """This version deletes nothing for its age."""
    history_retention_days: int
    """This version deletes nothing for its age."""


class UsageItem(TypedDict):
    """How much there is of one thing, and how much there may be."""

    current: int
    limit: int | None
    """Null is no limit."""
    percentage: float | None
    """Used, in percent of the limit; null without a limit, or with one of 0."""
    is_disabled: bool
    """Whether the plan does not have this at all: the limit is 0."""


class ResourceUsage(TypedDict):
    """How much there is of everything that a plan counts."""

    jobs_today: UsageItem
    """Jobs created since midnight, UTC."""
    active_jobs: UsageItem
    """Jobs that are not over."""
    queues: UsageItem
    workers: UsageItem
    api_keys: UsageItem
    schedules: UsageItem
    workflows: UsageItem
    webhooks: UsageItem


class UsageWarning(TypedDict):
    """Something that runs out, or has."""

    resource: str
    """What runs out."""
    message: str
    severity: Literal["warning", "critical"]
    """``critical``: the limit is reached."""


class UsageInfo(TypedDict):
    """A plan, and what of it is used."""

    plan: str
    plan_display_name: str
    limits: PlanLimits
    usage: ResourceUsage
    warnings: list[UsageWarning]


def plan_limits(plan: Plan) -> PlanLimits:
    """Return what *plan* allows."""
    limits = plan.limits
    return {
        "tier": plan.tier,
        "display_name": DISPLAY_NAMES.get(plan.tier, plan.tier.title()),
        "max_jobs_per_day": limits.max_jobs_per_day,
        "max_active_jobs": limits.max_active_jobs,
        "max_queues": limits.max_queues,
        "max_workers": limits.max_workers,
        "max_api_keys": limits.max_api_keys,
        "max_schedules": limits.max_schedules,
        "max_workflows": limits.max_workflows,
        "max_webhooks": limits.max_webhooks,
        "max_payload_size_bytes": limits.max_payload_size_bytes,
        "rate_limit_requests_per_second": _rate(limits.rate_limit_requests_per_second),
        "rate_limit_burst": _rate(limits.rate_limit_burst),
        "job_retention_days": limits.job_retention_days,
        "history_retention_days": limits.history_retention_days,
    }


def usage_info(plan: Plan, used: Usage) -> UsageInfo:
    """Return *plan*, and what of it is *used*."""
    counts = asdict(used)
    items = {
        name: _item(counts[name], getattr(plan.limits, limit))
        for name, limit in _LIMITS.items()
    }
    return {
        "plan": plan.tier,
        "plan_display_name": DISPLAY_NAMES.get(plan.tier, plan.tier.title()),
        "limits": plan_limits(plan),
        "usage": ResourceUsage(**items),  # type: ignore[typeddict-item] # by its names
        "warnings": _warnings(plan, items),
    }


def _rate(limit: int | None) -> int:
    return NO_RATE_LIMIT if limit is None else limit


def _item(current: int, limit: int | None) -> UsageItem:
    return {
        "current": current,
        "limit": limit,
        "percentage": round(100 * current / limit, 2) if limit else None,
        "is_disabled": limit == 0,
    }


def _warnings(plan: Plan, items: Mapping[str, UsageItem]) -> list[UsageWarning]:
    """Return what runs out: told of early on the free plan, which is small."""
    early = _WARNING_PERCENT_FREE if plan.tier == "free" else _WARNING_PERCENT
    warnings: list[UsageWarning] = []
    for name, item in items.items():
        percentage = item["percentage"]
        if percentage is None or percentage < early:
            continue
        full = percentage >= _FULL_PERCENT
        words = "reached the limit" if full else f"at {percentage:.0f}% of the limit"
        warnings.append(
            {
                "resource": name,
                "message": f"{name} {words} ({item['current']}/{item['limit']})",
                "severity": "critical" if full else "warning",
            }
        )
    return warnings
