"""Sign-in (contract 1.2)."""

from datetime import datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class AccessToken(TypedDict):
    """A token that is as good as the key it was made from, for ``expires_in`` s."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class TokenPair(AccessToken):
    """An access token, and what another can be had for."""

    refresh_token: str
    refresh_expires_in: int


class Validation(TypedDict):
    """Whether a token is good; if not, why; and what it says."""

    valid: bool
    error: NotRequired[str]
    claims: NotRequired[dict[str, Any]]


class OwnOrganization(TypedDict):
    """The organization that a session is for."""

    id: str
    name: str
    slug: str
    plan_tier: str
    billing_email: str | None


class Me(TypedDict):
    """Who a session is."""

    organization_id: str
    api_key_id: str
    queues: list[str]
    email: str | None
    issued_at: datetime
    expires_at: datetime
    organization: OwnOrganization | None


class EmailCheck(TypedDict):
    """Whether an address has an organization, and whether it may found one."""

    available: bool
    exists: bool
    has_organizations: bool
    signup_enabled: bool


class CodeSent(TypedDict):
    """Where a code went, in outline."""

    message: str
    sent: bool
    email_sent_to: str


class EmailLogin(TokenPair):
    """The address has an organization: here are its tokens."""

    type: Literal["login"]


class EmailSignup(TypedDict):
    """The address has none: this token founds one."""

    type: Literal["signup"]
    signup_token: str
    email: str
    expires_in: int


class FoundedOrganization(TypedDict):
    """A new organization, in a few words."""

    id: str
    name: str
    slug: str
    billing_email: str | None


class Signup(TokenPair):
    """A new organization with its first key, which is shown this once, and tokens."""

    organization: FoundedOrganization
    api_key: str
