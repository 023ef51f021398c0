"""What may be asked of the event stream; the streamer reads it (contract 3.3)."""

from typing import Annotated

from pydantic import BaseModel, Field

_Filter = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")
]


class EventsQuery(BaseModel):
    """Which events, and how they are written."""

    queue: _Filter | None = None
    """Only what happens in this queue."""
    job_id: _Filter | None = None
    """Only what happens to this job."""
    events: str | None = None
    """Only events of these names, such as ``job.created,job.failed``; ``*`` is all.
    One that we do not know matches nothing.
    """
    named: str | None = None
    """``1``, ``true`` or ``yes``: each frame has an ``event:`` line with its name."""
    token: str | None = None
    """The credential, for who cannot give a header: an access token or an API key."""
    api_key: str | None = None
    """The same as ``token``."""
