"""Sign-in (contract 1.2)."""

from datetime import datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class AccessToken(TypedDict):
    """A token that is as good as the key it was made from, for ``expires_in`` s."""

    access_token: str
    """Give it as ``Authorization: Bearer …``."""
    token_type: Literal["Bearer"]
    expires_in: int
    """Seconds until it is refused."""


class TokenPair(AccessToken):
    """An access token, and what another can be had for."""

    refresh_token: str
    """What ``/auth/refresh`` takes."""
    refresh_expires_in: int
    """Seconds until the refresh token is refused."""


class Validation(TypedDict):
    """Whether a token is good; if not, why; and what it says."""

    valid: bool
    error: NotRequired[str]
    """Why it is not good; absent when it is."""
    claims: NotRequired[dict[str, Any]]
    """What the token says; absent when it is not good."""


class OwnOrganization(TypedDict):
    """The organization that a session is for."""

    id: str
    name: str
    slug: str
    """Its name in URLs."""
    plan_tier: str
    billing_email: str | None


class Me(TypedDict):
    """Who a session is."""

    organization_id: str
    api_key_id: str
    """The key that the session is as good as."""
    queues: list[str]
    """The queues it is for; empty is all."""
    email: str | None
    """Who signed in by e-mail; null for who signed in with a key."""
    issued_at: datetime
    """When the token was made."""
    expires_at: datetime
    """From when the token is refused."""
    organization: OwnOrganization | None
    """Null when it is gone."""


class EmailCheck(TypedDict):
    """Whether an address has an organization, and whether it may found one."""

    available: bool
    """Whether no organization has it."""
    exists: bool
    """Whether it has an organization."""
    has_organizations: bool
    """The same as ``exists``."""
    signup_enabled: bool
    """Whether anybody may found one here."""


class CodeSent(TypedDict):
    """Where a code went, in outline."""

    message: str
    sent: bool
    email_sent_to: str
    """The address, in outline: ``a***@example.com``."""


class EmailLogin(TokenPair):
    """The address has an organization: here are its tokens."""

    type: Literal["login"]


class EmailSignup(TypedDict):
    """The address has none: this token founds one."""

    type: Literal["signup"]
    signup_token: str
    """What ``/auth/signup/complete`` takes."""
    email: str
    expires_in: int
    """Seconds until the token is refused."""


class FoundedOrganization(TypedDict):
    """A new organization, in a few words."""

    id: str
    name: str
    slug: str
    """Its name in URLs."""
    billing_email: str | None


class Signup(TokenPair):
    """A new organization with its first key, which is shown this once, and tokens."""

    organization: FoundedOrganization
    api_key: str
    """The first key, shown this once."""
