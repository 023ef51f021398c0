"""API keys (contract 1.7)."""

from typing import Any

from libs.common.db import Row


def key(row: Row) -> dict[str, Any]:
    """Return an API key as lists show it; the key itself is never shown again."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "queues": row["queues"],
        "rate_limit": row["rate_limit"],
        "is_active": row["is_active"],
        "created_at": row["created_at"],
        "last_used": row["last_used_at"],
        "expires_at": row["expires_at"],
    }
