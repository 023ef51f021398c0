"""What may be asked of the event streams; the streamer reads it (contract 3.2, 3.3)."""

from typing import Annotated

from pydantic import BaseModel, Field

_Filter = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")
]


class _Query(BaseModel):
    events: str | None = None
    """Only events of these names, such as ``job.created,job.failed``; ``*`` is all.
    One that we do not know matches nothing.
    """
    tag: str | None = Field(default=None, max_length=255)
    """Only what happens to jobs with this tag."""
    since: str | None = None
    """Begin with what happened since: the id of an event, or a time (RFC 3339)."""
    token: str | None = None
    """The credential, for who cannot give a header: an access token or an API key."""
    api_key: str | None = None
    """The same as ``token``."""


class SocketQuery(_Query):
    """Which events a WebSocket begins with."""

    queue: _Filter | None = None
    """Only what happens in this queue."""
    job_id: _Filter | None = None
    """Only what happens to this job."""


class JobEventsQuery(_Query):
    """Which events of a job, and how they are written."""

    named: str | None = None
    """``1``, ``true`` or ``yes``: each frame has an ``event:`` line with its name."""


class QueueEventsQuery(JobEventsQuery):
    """Which events of a queue, and how they are written."""

    job_id: _Filter | None = None
    """Only what happens to this job."""


class EventsQuery(QueueEventsQuery):
    """Which events, and how they are written."""

    queue: _Filter | None = None
    """Only what happens in this queue."""
