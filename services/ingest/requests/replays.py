"""What an endpoint may be sent again: the shape of a replay, and its limits."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from services.ingest.requests.endpoints import PlainObject
from services.ingest.requests.fields import Moment


def _passed(value: datetime) -> datetime:
    if value >= datetime.now(UTC):
        raise PydanticCustomError("in_the_past", "must be in the past")
    return value


class StartReplay(BaseModel):
    """What to send again: everything of a time that one of the kinds names."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[Moment, AfterValidator(_passed)]
    """What was created at this moment or after it."""
    until: Moment | None = None
    """And before this moment; absent, or later than now, is now."""
    status: Literal["failed", "missed", "all"] = "failed"
    """``failed``: its dead letters, with fresh retries. ``missed``: messages that it
    asks for and that never went to it, as they are older than it or than what it asks
    for. ``all``: every message that it asks for, delivered before or not; one that is
    still on its way is left alone.
    """
    filter: PlainObject | None = None
    """Of those, what passes this filter as well; the same language as an endpoint's."""
    rate_per_second: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 50.0
    """How many are sent again in a second, at the most."""

    @model_validator(mode="after")
    def _in_order(self) -> "StartReplay":
        if self.until is not None and self.until <= self.since:
            raise PydanticCustomError("order", "until must be after since")
        return self
