"""What may come in as a webhook, and be configured of it (contract 1.11)."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from services.ingest.requests.fields import IdempotencyKey, Priority, QueueName

SECRET_CHARACTERS_MAX: Final = 512
#: Where whoever only has a token must not put anything.
_RESERVED_QUEUES: Final = frozenset(["admin", "system", "internal", "root", "default"])
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def _open_queue(value: str) -> str:
    if value.casefold() in _RESERVED_QUEUES or ".." in value:
        raise PydanticCustomError("reserved", "Queue name is reserved")
    return value


def _secret(value: str) -> str:
    # It was copied from somewhere: what came along by mistake must not become a part.
    if value != value.strip() or _CONTROL.search(value):
        raise PydanticCustomError(
            "secret", "must not begin or end with a space or have control characters"
        )
    return value


class CustomWebhook(BaseModel):
    """A webhook of whoever has the organization's token (contract 1.11)."""

    queue_name: Annotated[QueueName, AfterValidator(_open_queue)]
    """The queue of the job; not admin, default, internal, root or system, and without
    two dots in a row.
    """
    payload: Any
    """The job's payload, any JSON; it arrives byte for byte."""
    event_type: (
        Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")] | None
    ) = None
    """What happened: the job's ``job_type`` where the payload says none."""
    idempotency_key: IdempotencyKey | None = None
    """What only one job of the organization has: a repeat is answered with that job."""
    priority: Priority | None = None
    """Higher goes first, within its queue; 0 unless said."""


class ConfigureSource(BaseModel):
    """How webhooks of a provider are proven and what becomes of them.

    What is absent stays as it is; of a new one it is the default.
    """

    model_config = ConfigDict(extra="forbid")

    secret: (
        Annotated[
            str,
            Field(min_length=1, max_length=SECRET_CHARACTERS_MAX),
            AfterValidator(_secret),
        ]
        | None
    ) = None
    """What the provider signs with: its webhook secret; of Slack the signing secret; of
    a Standard Webhooks sender ``whsec_…``, or ``whpk_…`` when it signs with ed25519.
    Required of a new one.
    """
    queue_name: QueueName | None = None
    """Into which queue; null is one for each kind of event, such as ``github-push``."""
    as_: Literal["job", "message"] | None = Field(
        default=None,
        alias="as",
        description="``job`` for workers, or ``message`` to the endpoints that want "
        "its type, such as ``github.push``; ``job`` unless said.",
    )
    enabled: bool | None = None
    """Whether anything is taken; true unless said."""
    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400
    """For how long the secret before is good as well, when there is a new one: a day
    unless said, a week at most; 0 is not at all.
    """


class DeliveriesPage(BaseModel):
    """Which webhooks that came in.  Values that are unknown are ignored."""

    status: Literal["created", "duplicate"] | None = Field(
        default=None, description="Only what was new, or only what came again."
    )
    since: datetime | None = Field(
        default=None, description="What came then or later; UTC if it names no zone."
    )
    queue_name: str | None = Field(default=None, description="Of this queue.")
    limit: int = Field(default=50, description="At most so many, 1 to 100.")
    offset: int = Field(default=0, description="Leave out so many from the front.")
