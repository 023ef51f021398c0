"""What the administrator may ask (contract 1.13)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from libs.common.plans import Limits
from services.ingest.requests.fields import PlainText
from services.ingest.requests.organizations import (
    CreateOrganization,
    Email,
    OrganizationName,
    SettingsObject,
)

Tier = Literal["free", "starter", "pro", "enterprise"]
StripeId = Annotated[PlainText, Field(min_length=1, max_length=255)]


class ListOrganizations(BaseModel):
    """Which organizations, in which order.

    Closed ones are listed only under ``plan_tier=deleted``.
    """

    plan_tier: PlainText | None = None
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
    sort_by: Literal["name", "slug", "plan_tier", "created_at", "updated_at"] = (
        "created_at"
    )
    sort_order: Literal["asc", "desc"] = "desc"


class AdminCreateOrganization(CreateOrganization):
    """A new organization on any plan."""

    plan_tier: Tier = "free"
    settings: SettingsObject | None = None
    custom_limits: Limits | None = None


class AdminChangeOrganization(BaseModel):
    """What to change; absent keeps what is there.

    Null resets ``custom_limits`` and the Stripe ids, and keeps the others.  Limits that
    ``custom_limits`` do not name are the plan's.
    """

    name: OrganizationName | None = None
    plan_tier: Tier | None = None
    billing_email: Email | None = None
    settings: SettingsObject | None = None
    custom_limits: Limits | None = None
    stripe_customer_id: StripeId | None = None
    stripe_subscription_id: StripeId | None = None


class DeleteOrganization(BaseModel):
    """How thoroughly: closed and kept, or gone with all its jobs (D9)."""

    hard: Annotated[bool, Field(description="erase it with everything it has")] = False
    hard_delete: Annotated[bool, Field(description="the same")] = False


def stored(limits: Limits | None) -> dict[str, Any] | None:
    """Return the limits that were given, to be stored; the others are the plan's."""
    return None if limits is None else limits.model_dump(exclude_unset=True)
