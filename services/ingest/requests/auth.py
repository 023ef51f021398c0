"""What may be asked of sign-in (contract 1.2)."""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from services.ingest.requests.organizations import OrganizationName, Slug
from services.ingest.slugs import RESERVED

#: What a mail server takes without extensions; it is HTML's rule for addresses.
_EMAIL: Final = (
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$"
)
#: A token is a header's worth at most.
Token = Annotated[str, Field(min_length=10, max_length=8192)]
#: Addresses are the same in whatever case they are written.
Address = Annotated[
    str, Field(max_length=254, pattern=_EMAIL), AfterValidator(str.lower)
]


class Login(BaseModel):
    """An API key, to be changed for tokens."""

    api_key: Annotated[str, Field(min_length=10, max_length=512)]
    """An API key that is active."""


class Refresh(BaseModel):
    """A refresh token, for another access token."""

    refresh_token: Token
    """As it was given with the access token."""


class Validate(BaseModel):
    """A token in question."""

    token: Annotated[str, Field(max_length=8192)]
    """An access token or a refresh token."""


class Logout(BaseModel):
    """A refresh token, whose session is ended as well if it is another."""

    refresh_token: Annotated[str, Field(max_length=8192)] | None = None
    """Of the session to end besides the one that asks."""


class CheckEmail(BaseModel):
    """The address in question."""

    email: Address
    """The address; upper and lower case are the same."""


class StartEmail(BaseModel):
    """Where to send a code."""

    email: Address
    """The address; upper and lower case are the same."""


class VerifyEmail(BaseModel):
    """The code that came."""

    email: Address
    """The address that the code was sent to."""
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]
    """Six digits, as they stand in the e-mail."""


class CompleteSignup(BaseModel):
    """The new organization of somebody who has shown an address."""

    signup_token: Token
    """What showing the address gave."""
    name: OrganizationName
    """What people call the organization."""
    slug: Slug
    """The organization's name in URLs; nobody else may have it."""

    @field_validator("slug")
    @classmethod
    def _is_free_to_take(cls, slug: str) -> str:
        if slug in RESERVED:
            raise PydanticCustomError("reserved", "this slug is reserved")
        return slug
