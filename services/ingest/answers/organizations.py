"""Organizations (contract 1.3)."""

from datetime import datetime
from typing import Any

import orjson
from typing_extensions import TypedDict

from libs.common.db import Row
from services.ingest.answers.keys import NewKey


class OrganizationSummary(TypedDict):
    """An organization, in a few words."""

    id: str
    name: str
    slug: str
    """Its name in URLs."""
    plan_tier: str
    """Its plan; ``deleted`` when it is closed."""
    created_at: datetime


class Organization(OrganizationSummary):
    """An organization; its webhook token has a route of its own.

    There is no billing provider: of Stripe only the ids that the administrator noted
    are known.
    """

    billing_email: str | None
    """Null when there is none."""
    settings: Any
    """Its own JSON, without the webhook token."""
    custom_limits: Any
    """Which limits differ from the plan's; null when none do."""
    weight: int
    """Its part of the webhooks that are sent at once, against that of others."""
    stripe_customer_id: str | None
    """As the operator noted it; null when they did not."""
    stripe_subscription_id: str | None
    """As the operator noted it; null when they did not."""
    stripe_subscription_status: str | None
    """Null: there is no billing provider."""
    stripe_current_period_end: datetime | None
    """Null: there is no billing provider."""
    stripe_cancel_at_period_end: bool | None
    """Null: there is no billing provider."""
    updated_at: datetime


class NewOrganization(TypedDict):
    """An organization with its first key, which is shown this once."""

    organization: Organization
    api_key: NewKey
    """The first key, shown this once."""


class SlugCheck(TypedDict):
    """Whether a slug may be taken; if not, why, and which other might."""

    available: bool
    """Whether it may be taken."""
    valid: bool
    """Whether it is a slug at all."""
    error: str | None
    """Why it may not be taken; null when it may."""
    suggestion: str | None
    """One like it that nobody has; null when it may be taken itself."""


class GeneratedSlug(TypedDict):
    """A slug that nobody has."""

    slug: str


class WebhookToken(TypedDict):
    """What incoming webhooks must show, under both its names, and where they go."""

    webhook_token: str | None
    """Null when there is none: then no webhook gets in."""
    token: str | None
    """The same."""
    webhook_url: str
    """Where whoever has it sends to."""


class Member(TypedDict):
    """An active API key, as a member of the organization."""

    id: str
    """The key's id."""
    user_id: str
    """The same."""
    email: str
    """The organization's address; empty when it has none."""
    name: str
    role: str
    """``owner`` may do everything; ``member`` is limited to queues."""
    joined_at: datetime
    """When the key was made."""
    invited_by: str | None
    """Always null."""


class SigningSecret(TypedDict):
    """A secret that signs webhooks, and until when."""

    signing_secret: str
    """As Standard Webhooks spells it: ``whsec_`` and base64."""
    created_at: datetime
    expires_at: datetime | None
    """When it stops signing; null when no end is set."""


class SigningSecrets(SigningSecret):
    """The newest secret, with those before it that still sign."""

    previous: list[SigningSecret]
    """Those that still sign besides, the newest first."""


def summary(row: Row) -> OrganizationSummary:
    """Return an organization as lists show it."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "slug": row["slug"],
        "plan_tier": row["plan_tier"],
        "created_at": row["created_at"],
    }


def organization(row: Row) -> Organization:
    """Return an organization without its webhook token (contract 1.0)."""
    settings = orjson.loads(row["settings"])
    settings.pop("webhook_token", None)
    limits = row["custom_limits"]
    return {
        **summary(row),
        "billing_email": row["billing_email"],
        "settings": settings,
        "custom_limits": None if limits is None else orjson.loads(limits),
        "weight": row["weight"],
        "stripe_customer_id": row["stripe_customer_id"],
        "stripe_subscription_id": row["stripe_subscription_id"],
        "stripe_subscription_status": None,
        "stripe_current_period_end": None,
        "stripe_cancel_at_period_end": None,
        "updated_at": row["updated_at"],
    }


def member(row: Row, *, email: str | None) -> Member:
    """Return a key as a member: who may do everything is an owner."""
    scoped = row["queues"] and "*" not in row["queues"]
    return {
        "id": str(row["id"]),
        "user_id": str(row["id"]),
        "email": email or "",
        "name": row["name"],
        "role": "member" if scoped else "owner",
        "joined_at": row["created_at"],
        "invited_by": None,
    }
