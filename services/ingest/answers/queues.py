"""Queues (contract 1.5)."""

from typing import Any

from libs.common.db import Row
from services.ingest.answers.fields import as_stored


def queue(row: Row) -> dict[str, Any]:
    """Return a queue's configuration."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "queue_name": row["name"],
        "max_retries": row["max_retries"],
        "default_timeout": row["default_timeout"],
        "rate_limit": row["rate_limit"],
        "enabled": row["enabled"],
        "settings": as_stored(row["settings"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
