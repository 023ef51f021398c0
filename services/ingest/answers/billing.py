"""Billing (contract 1.12): there is no provider, so most of it is null."""

from datetime import datetime

from typing_extensions import TypedDict

from libs.common.db import Row


class BillingStatus(TypedDict):
    """The plan, and what the administrator noted of the customer at Stripe."""

    plan_tier: str
    """The plan."""
    stripe_subscription_id: str | None
    """As the operator noted it; null when they did not."""
    stripe_subscription_status: str | None
    """Null: there is no billing provider."""
    stripe_current_period_end: datetime | None
    """Null: there is no billing provider."""
    stripe_cancel_at_period_end: bool | None
    """Null: there is no billing provider."""
    has_stripe_customer: bool
    """Whether the operator noted a customer."""


def status(row: Row) -> BillingStatus:
    """Return how an organization is billed."""
    return {
        "plan_tier": row["plan_tier"],
        "stripe_subscription_id": row["stripe_subscription_id"],
        "stripe_subscription_status": None,
        "stripe_current_period_end": None,
        "stripe_cancel_at_period_end": None,
        "has_stripe_customer": row["stripe_customer_id"] is not None,
    }
