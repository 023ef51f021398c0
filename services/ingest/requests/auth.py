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


class Refresh(BaseModel):
    """A refresh token, for another access token."""

    refresh_token: Token


class Validate(BaseModel):
    """A token in question."""

    token: Annotated[str, Field(max_length=8192)]


class Logout(BaseModel):
    """A refresh token, whose session is ended as well if it is another."""

    refresh_token: Annotated[str, Field(max_length=8192)] | None = None


class CheckEmail(BaseModel):
    """The address in question."""

    email: Address


class StartEmail(BaseModel):
    """Where to send a code."""

    email: Address


class VerifyEmail(BaseModel):
    """The code that came."""

    email: Address
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class CompleteSignup(BaseModel):
    """The new organization of somebody who has shown an address."""

    signup_token: Token
    name: OrganizationName
    slug: Slug

    @field_validator("slug")
    @classmethod
    def _is_free_to_take(cls, slug: str) -> str:
        if slug in RESERVED:
            raise PydanticCustomError("reserved", "this slug is reserved")
        return slug
