"""Organizations (contract 1.3)."""

from typing import Any

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


def organization(row: Row) -> dict[str, Any]:
    """Return an organization (contract 1.3); there is no billing provider."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "slug": row["slug"],
        "plan_tier": row["plan_tier"],
        "billing_email": row["billing_email"],
        "settings": as_stored(row["settings"]),
        "custom_limits": as_stored(row["custom_limits"]),
        "stripe_customer_id": None,
        "stripe_subscription_id": None,
        "stripe_subscription_status": None,
        "stripe_current_period_end": None,
        "stripe_cancel_at_period_end": None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
