"""What may be asked of organizations (contract 1.3)."""

from typing import Annotated, Final

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from services.ingest.requests.fields import PlainText

_SLUG: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_SLUGS_RESERVED: Final = frozenset(
    [
        "admin",
        "api",
        "app",
        "auth",
        "dashboard",
        "docs",
        "help",
        "internal",
        "login",
        "logout",
        "metrics",
        "root",
        "settings",
        "signup",
        "status",
        "support",
        "system",
        "test",
        "www",
    ]
)
_EMAIL: Final = r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$"


class CreateOrganization(BaseModel):
    """A new organization (contract 1.3)."""

    name: Annotated[PlainText, Field(min_length=3, max_length=100)]
    slug: Annotated[str, Field(min_length=3, max_length=50, pattern=_SLUG)]
    billing_email: Annotated[str, Field(max_length=255, pattern=_EMAIL)] | None = None

    @field_validator("slug")
    @classmethod
    def _is_free_to_take(cls, slug: str) -> str:
        if slug in _SLUGS_RESERVED:
            raise PydanticCustomError("reserved", "this slug is reserved")
        return slug


class RotateSecret(BaseModel):
    """A new signing secret; the old one signs on for ``overlap_seconds`` (≤ 7 days)."""

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400
