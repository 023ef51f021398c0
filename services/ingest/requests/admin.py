"""What the administrator may ask (contract 1.13)."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from libs.common.plans import Limits
from services.ingest.requests.fields import PlainText
from services.ingest.requests.keys import CreateKey
from services.ingest.requests.organizations import (
    CreateOrganization,
    Email,
    OrganizationName,
    SettingsObject,
)

Tier = Literal["free", "starter", "pro", "enterprise"]
#: A limit or a plan that was misspelt would be silent and matter.
_STRICT: Final = ConfigDict(extra="forbid")
StripeId = Annotated[PlainText, Field(min_length=1, max_length=255)]


class ListOrganizations(BaseModel):
    """Which organizations, in which order.

    Closed ones are listed only under ``plan_tier=deleted``.
    """

    plan_tier: PlainText | None = None
    """On this plan only."""
    search: (
        Annotated[
            PlainText,
            Field(
                max_length=255,
                description="is in name, slug or billing e-mail, or begins the id",
            ),
        ]
        | None
    ) = None
    limit: int = Field(default=50, description="1 to 100; others are moved into it")
    offset: int = 0
    """Leave out so many from the front."""
    sort_by: Literal["name", "slug", "plan_tier", "created_at", "updated_at"] = (
        "created_at"
    )
    """What the list is ordered by."""
    sort_order: Literal["asc", "desc"] = "desc"
    """``desc`` is the greatest, or the latest, first."""


class AdminCreateOrganization(CreateOrganization):
    """A new organization on any plan."""

    model_config = _STRICT

    plan_tier: Tier = "free"
    """The plan, with its limits."""
    settings: SettingsObject | None = None
    """Any JSON object of your own, at most 64 KiB."""
    custom_limits: Limits | None = None
    """Which limits differ from the plan's; those that are not named are the plan's."""


class AdminChangeOrganization(BaseModel):
    """What to change; absent keeps what is there.

    Null resets ``custom_limits`` and the Stripe ids, and keeps the others, ``weight``
    among them.  Limits that
    ``custom_limits`` do not name are the plan's.
    """

    model_config = _STRICT

    name: OrganizationName | None = None
    """What people call it."""
    plan_tier: Tier | None = None
    """The plan, with its limits."""
    billing_email: Email | None = None
    """Where bills would go, and who may sign in by e-mail."""
    settings: SettingsObject | None = None
    """Any JSON object of your own, at most 64 KiB; it replaces what is there."""
    custom_limits: Limits | None = None
    """Which limits differ from the plan's; those that are not named are the plan's.
    Null: all are the plan's again.
    """
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Its part of the webhooks that are sent at once, against that of others: who has 2
    gets twice as much as who has 1, while both want more.
    """
    stripe_customer_id: StripeId | None = None
    """A note for the operator; null takes it away."""
    stripe_subscription_id: StripeId | None = None
    """A note for the operator; null takes it away."""


class AdminCreateKey(CreateKey):
    """A new key for any organization."""

    model_config = _STRICT


class DeleteOrganization(BaseModel):
    """How thoroughly: closed and kept, or gone with all its jobs (D9)."""

    hard: Annotated[bool, Field(description="erase it with everything it has")] = False
    hard_delete: Annotated[bool, Field(description="the same")] = False


def stored(limits: Limits | None) -> dict[str, Any] | None:
    """Return the limits that were given, to be stored; the others are the plan's."""
    return None if limits is None else limits.model_dump(exclude_unset=True)
