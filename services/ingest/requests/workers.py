"""What may be asked of workers (contract 1.6)."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from services.ingest.requests.fields import JSON_BYTES_MAX, PlainText, QueueName

#: What a worker may say of itself.
WorkerStatus = Literal["healthy", "degraded", "draining", "offline"]


def _fits(value: Any) -> Any:
    if value is not None and len(orjson.dumps(value)) > JSON_BYTES_MAX:
        raise PydanticCustomError("size", "exceeds 64 KiB")
    return value


WorkerId = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+$")
]
Metadata = Annotated[Any, AfterValidator(_fits)]


class RegisterWorker(BaseModel):
    """A worker that comes to work; registering an id again changes what it said."""

    queue_name: QueueName
    """The queue it works for."""
    hostname: Annotated[PlainText, Field(min_length=1, max_length=255)]
    """Where it runs."""
    worker_type: Annotated[PlainText, Field(max_length=50)] | None = None
    """What it is, in its own word."""
    max_concurrency: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    """How many jobs it takes on at once; shown to people, it limits nothing."""
    version: Annotated[PlainText, Field(max_length=50)] | None = None
    """Of its own program."""
    metadata: Metadata = None
    """Any JSON, at most 64 KiB."""
    worker_id: WorkerId | None = None
    """The name it goes by; made up when absent."""


class BeatHeart(BaseModel):
    """A sign of life; what is absent stays as it is."""

    current_jobs: Annotated[int, Field(ge=0, le=1000, strict=True)]
    """How many jobs it works on now."""
    status: WorkerStatus | None = None
    """How it is, in its own judgement."""
    metadata: Metadata = None
    """Any JSON, at most 64 KiB."""
