"""What the administrator is told (contract 1.13)."""

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.store.overview import Counts
from services.ingest.answers.organizations import Organization, organization
from services.ingest.answers.usage import UsageInfo


class UsageCounts(TypedDict):
    """How much an organization has."""

    jobs_today: int
    """Jobs created since midnight, UTC."""
    active_jobs: int
    """Jobs that are not over."""
    queues: int
    """Queues, configured or in use."""
    workers: int
    """Workers that are up."""
    api_keys: int
    """Keys that are active."""


class ListedOrganization(Organization):
    """An organization with what it has."""

    usage: UsageCounts
    """How much it has of what plans count."""


class OrganizationPage(TypedDict):
    """A page of organizations, and how many there are on all pages."""

    organizations: list[ListedOrganization]
    total: int
    """How many there are on all pages."""
    limit: int
    offset: int


class ManagedOrganization(Organization):
    """An organization with its plan, and what of it is used."""

    usage_info: UsageInfo
    """Its plan, and how much of it is used."""
    api_keys_count: int
    """Keys that are active."""
    total_jobs: int
    """All jobs, open or over."""


class PlanCount(TypedDict):
    """How many organizations are on a plan."""

    plan: str
    """The plan's tier."""
    count: int
    """How many are on it."""


class OrganizationCounts(TypedDict):
    """How many organizations there are; closed ones are not counted."""

    total: int
    by_plan: list[PlanCount]
    created_today: int
    """Since midnight, UTC."""
    created_this_week: int
    """Since Monday, UTC."""


class JobCounts(TypedDict):
    """How many jobs there are in the whole house."""

    total_active: int
    """Jobs that are not over."""
    pending: int
    """Due, or waiting for a retry or for other jobs."""
    processing: int
    """In work now."""
    completed_24h: int
    """Completed in the last 24 hours."""
    failed_24h: int
    """Became dead letters in the last 24 hours."""


class WorkerCounts(TypedDict):
    """How many workers there are in the whole house; who is offline is not counted."""

    total: int
    healthy: int
    degraded: int


class SystemFigures(TypedDict):
    """What answers, and for how long already."""

    api_version: str
    uptime_seconds: int
    """For how long this process has been serving."""


class Statistics(TypedDict):
    """How the whole house stands."""

    organizations: OrganizationCounts
    jobs: JobCounts
    workers: WorkerCounts
    system: SystemFigures


def listed(row: Row, counts: Counts) -> ListedOrganization:
    """Return an organization as the list shows it."""
    return {
        **organization(row),
        "usage": {
            "jobs_today": counts.jobs_today,
            "active_jobs": counts.active_jobs,
            "queues": counts.queues,
            "workers": counts.workers,
            "api_keys": counts.api_keys,
        },
    }


def managed(row: Row, *, info: UsageInfo, total_jobs: int) -> ManagedOrganization:
    """Return an organization with its usage."""
    return {
        **organization(row),
        "usage_info": info,
        "api_keys_count": info["usage"]["api_keys"]["current"],
        "total_jobs": total_jobs,
    }
