"""What jobs may be told to wait for (contract 1.4, 4.6)."""

from typing import Annotated, Final

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from libs.common.store.dependencies import Kind, Mode
from services.ingest.requests.fields import Priority

PARENTS_MAX: Final = 100

Ids = Annotated[list[str], Field(min_length=1, max_length=PARENTS_MAX)]


class AddDependencies(BaseModel):
    """The jobs to wait for, under any of the names that clients use (D10)."""

    depends_on: Ids | None = None
    """Ids of the jobs to wait for; this or one of its other names is required."""
    dependency_job_ids: Ids | None = None
    """The same as ``depends_on``."""
    depends_on_job_ids: Ids | None = None
    """The same as ``depends_on``."""
    dependency_mode: Mode = "all"
    """Whether it waits for all of them, or for any one."""
    dependency_type: Kind = "success"
    """What it waits for: that they complete (``success``), end in whatever way
    (``completion``), or fail (``failure``).
    """

    @model_validator(mode="after")
    def _names_some(self) -> "AddDependencies":
        if not self.parents:
            raise PydanticCustomError("missing", "depends_on is required")
        return self

    @property
    def parents(self) -> list[str]:
        """The ids, whatever they were called."""
        return [
            *(self.depends_on or ()),
            *(self.dependency_job_ids or ()),
            *(self.depends_on_job_ids or ()),
        ]


class ChangePriority(BaseModel):
    """The priority that a job shall have."""

    priority: Priority
    """Higher goes first, within its queue."""
