"""What may be asked of organizations (contract 1.3)."""

from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from services.ingest.requests.fields import JSON_BYTES_MAX, NUL, PlainText
from services.ingest.slugs import RESERVED, SLUG, SLUG_LENGTH_MAX, SLUG_LENGTH_MIN

_EMAIL: Final = r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$"


def _fits(value: dict[str, Any]) -> dict[str, Any]:
    spelled = orjson.dumps(value)
    if len(spelled) > JSON_BYTES_MAX:
        raise PydanticCustomError("size", "must not exceed 64 KiB")
    if NUL.search(spelled):
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return value


OrganizationName = Annotated[PlainText, Field(min_length=3, max_length=100)]
Slug = Annotated[
    str, Field(min_length=SLUG_LENGTH_MIN, max_length=SLUG_LENGTH_MAX, pattern=SLUG)
]
#: Kept in lower case: an address is the same, and taken, however it is written.
Email = Annotated[str, Field(max_length=255, pattern=_EMAIL), AfterValidator(str.lower)]
SettingsObject = Annotated[dict[str, Any], AfterValidator(_fits)]


class CreateOrganization(BaseModel):
    """A new organization (contract 1.3)."""

    name: OrganizationName
    """What people call it."""
    slug: Slug
    """Its name in URLs; nobody else may have it."""
    billing_email: Email | None = None
    """Where bills would go, and who may sign in by e-mail."""

    @field_validator("slug")
    @classmethod
    def _is_free_to_take(cls, slug: str) -> str:
        if slug in RESERVED:
            raise PydanticCustomError("reserved", "this slug is reserved")
        return slug


class ChangeOrganization(BaseModel):
    """What to change; null or absent keeps what is there.

    ``settings`` replace what is there, except the webhook token, which has routes of
    its own.
    """

    name: OrganizationName | None = None
    """What people call it."""
    billing_email: Email | None = None
    """Where bills would go, and who may sign in by e-mail."""
    settings: SettingsObject | None = None
    """Any JSON object of your own, at most 64 KiB; it replaces what is there."""


class CheckSlug(BaseModel):
    """The slug in question; one that is none is answered, not refused."""

    slug: str = ""
    """The slug in question."""


class GenerateSlug(BaseModel):
    """The name that a slug is to be made of."""

    name: Annotated[PlainText, Field(min_length=1, max_length=200)]
    """Any name; the slug is like it."""


class ClearWebhookToken(BaseModel):
    """Whether it is meant; who sends nothing means it."""

    confirm: bool = True
    """Must be true, as it is when absent."""


class RotateSecret(BaseModel):
    """A new signing secret; the old one signs on for ``overlap_seconds`` (≤ 7 days)."""

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400
    """For how long the old secret signs along, so that receivers have time; a day
    unless said.
    """
