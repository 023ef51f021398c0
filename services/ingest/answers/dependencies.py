"""Jobs that wait for jobs (contract 1.4, D10)."""

from collections.abc import Sequence
from uuid import UUID

from typing_extensions import TypedDict

from libs.common.db import Row
from libs.common.store.dependencies import Kind


class Relative(TypedDict):
    """A parent or a child of a job."""

    job_id: str
    queue_name: str
    status: str
    """Its state now."""
    dependency_type: Kind
    """What the child waits for: that the parent completes, ends, or fails."""


class Dependencies(TypedDict):
    """What a job waits for, and what waits for it."""

    job_id: str
    dependencies: list[Relative]
    """The jobs it waits for, or waited for."""
    dependents: list[Relative]
    """The jobs that wait for it."""
    dependency_mode: str
    """``all`` of them must complete, or ``any`` one."""
    dependencies_met: bool
    """Whether it waits for none of them any more."""


class DependenciesAdded(TypedDict):
    """Which edges are new; those that led in a circle were left out."""

    job_id: str
    dependencies_added: int
    """How many edges are new."""
    added_count: int
    """The same."""
    added: list[str]
    """The jobs that it waits for besides, by id."""
    dependencies_met: bool
    """Whether it waits for none of them."""


class PriorityChanged(TypedDict):
    """A job's priority before and after."""

    job_id: str
    old_priority: int
    """Before; higher goes first."""
    new_priority: int
    """Now; higher goes first."""


def dependencies(
    job_id: UUID, parents: Sequence[Row], children: Sequence[Row], *, met: bool
) -> Dependencies:
    """Return the family of a job."""
    any_one = any(row["mode"] == "any" for row in parents)
    return {
        "job_id": str(job_id),
        "dependencies": [_relative(row) for row in parents],
        "dependents": [_relative(row) for row in children],
        "dependency_mode": "any" if any_one else "all",
        "dependencies_met": met,
    }


def added(job_id: UUID, new: Sequence[UUID], *, met: bool) -> DependenciesAdded:
    """Return what was added to a job's dependencies."""
    return {
        "job_id": str(job_id),
        "dependencies_added": len(new),
        "added_count": len(new),
        "added": [str(id_) for id_ in new],
        "dependencies_met": met,
    }


def _relative(row: Row) -> Relative:
    return {
        "job_id": str(row["id"]),
        "queue_name": row["queue_name"],
        "status": row["status"],
        "dependency_type": row["kind"],
    }
