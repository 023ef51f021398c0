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
    hostname: Annotated[PlainText, Field(min_length=1, max_length=255)]
    worker_type: Annotated[PlainText, Field(max_length=50)] | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    version: Annotated[PlainText, Field(max_length=50)] | None = None
    #: Any JSON, at most 64 KiB of it.
    metadata: Metadata = None
    #: Made up when absent.
    worker_id: WorkerId | None = None


class BeatHeart(BaseModel):
    """A sign of life; what is absent stays as it is."""

    current_jobs: Annotated[int, Field(ge=0, le=1000, strict=True)]
    status: WorkerStatus | None = None
    metadata: Metadata = None
