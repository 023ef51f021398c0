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
    plan_tier: str
    created_at: datetime


class Organization(OrganizationSummary):
    """An organization; its webhook token has a route of its own.

    There is no billing provider: of Stripe only the ids that the administrator noted
    are known.
    """

    billing_email: str | None
    settings: Any
    custom_limits: Any
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    stripe_subscription_status: str | None
    stripe_current_period_end: datetime | None
    stripe_cancel_at_period_end: bool | None
    updated_at: datetime


class NewOrganization(TypedDict):
    """An organization with its first key, which is shown this once."""

    organization: Organization
    api_key: NewKey


class SlugCheck(TypedDict):
    """Whether a slug may be taken; if not, why, and which other might."""

    available: bool
    valid: bool
    error: str | None
    suggestion: str | None


class GeneratedSlug(TypedDict):
    """A slug that nobody has."""

    slug: str


class WebhookToken(TypedDict):
    """What incoming webhooks must show, under both its names, and where they go."""

    webhook_token: str | None
    token: str | None
    webhook_url: str


class Member(TypedDict):
    """An active API key, as a member of the organization."""

    id: str
    user_id: str
    email: str
    name: str
    role: str
    joined_at: datetime
    invited_by: str | None


class SigningSecret(TypedDict):
    """A secret that signs webhooks, and until when."""

    signing_secret: str
    created_at: datetime
    expires_at: datetime | None


class SigningSecrets(SigningSecret):
    """The newest secret, with those before it that still sign."""

    previous: list[SigningSecret]


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
