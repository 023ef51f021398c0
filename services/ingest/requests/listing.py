"""What may be asked of lists of jobs: documented here, read leniently (D21)."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from libs.common.store.jobs import SortKey


class DeadPage(BaseModel):
    """Which jobs, and in which order.  Values that are unknown are ignored."""

    queue_name: str | None = Field(default=None, description="Of this queue.")
    queue: str | None = Field(default=None, description="The same.")
    tag: str | None = Field(
        default=None,
        max_length=1024,
        description="Whose tags have it: as an element of a list, or as a key.",
    )
    q: str | None = Field(
        default=None,
        max_length=1024,
        description="Whose id begins so, or whose queue or job_type has it inside.",
    )
    job_type: str | None = Field(
        default=None, max_length=1024, description="Whose payload.job_type is this."
    )
    error: str | None = Field(
        default=None,
        max_length=1024,
        description="Whose last_error is this, as far as its first 200 characters.",
    )
    created_after: datetime | None = Field(default=None, description="Inclusive.")
    created_before: datetime | None = Field(default=None, description="Exclusive.")
    order_by: SortKey = "created_at"
    """What the list is ordered by."""
    order_dir: Literal["asc", "desc"] = "desc"
    """``desc`` is the greatest, or the latest, first."""
    limit: int = Field(default=50, description="At most so many, 1 to 100.")
    offset: int = Field(default=0, description="Leave out so many from the front.")
    cursor: str | None = Field(
        default=None,
        description="Go on where X-Next-Cursor of the page before said; the other "
        "parameters must be the same.",
    )


class JobsPage(DeadPage):
    """The same, in any state."""

    status: str | None = Field(
        default=None, description="In this state, or in these, separated by commas."
    )


class DeadGroups(BaseModel):
    """Which dead letters are grouped."""

    queue_name: str | None = Field(default=None, description="Of this queue only.")
    queue: str | None = Field(default=None, description="The same.")


class StatsQuery(BaseModel):
    """Which jobs are counted."""

    queue_name: str | None = Field(default=None, description="Of this queue only.")
    queue: str | None = Field(default=None, description="The same.")


class SeriesQuery(StatsQuery):
    """Which jobs are counted, and how far back."""

    hours: int = Field(default=1, description="So many hours, 1 to 24.")


class StatusQuery(BaseModel):
    """Whose state is asked for."""

    ids: str = Field(default="", description="Up to 100 job ids, separated by commas.")
