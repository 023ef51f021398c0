"""API keys (contract 1.7)."""

from datetime import datetime

from typing_extensions import TypedDict

from libs.common.db import Row


class Key(TypedDict):
    """An API key as it is shown; the key itself never is again."""

    id: str
    organization_id: str
    name: str
    queues: list[str]
    """The queues it is for; empty is all."""
    rate_limit: int | None
    """Requests per minute; null is no limit besides the plan's."""
    is_active: bool
    """False: revoked."""
    created_at: datetime
    last_used: datetime | None
    """To the minute; null when it never was."""
    expires_at: datetime | None
    """From when it is refused; null is never."""


class NewKey(Key):
    """A new API key, with the key itself, this once."""

    key: str
    """The key itself, shown this once."""


def key(row: Row) -> Key:
    """Return an API key."""
    return {
        "id": str(row["id"]),
        "organization_id": str(row["organization_id"]),
        "name": row["name"],
        "queues": row["queues"],
        "rate_limit": row["rate_limit"],
        "is_active": row["is_active"],
        "created_at": row["created_at"],
        "last_used": row["last_used_at"],
        "expires_at": row["expires_at"],
    }


def new_key(row: Row, *, secret: str) -> NewKey:
    """Return an API key that was just made."""
    return {**key(row), "key": secret}
