"""API keys (contract 1.7)."""

from datetime import datetime

from typing_extensions import TypedDict

from libs.common.db import Row


class Key(TypedDict):
    """An API key as it is shown; the key itself never is again."""

    id: str
    organization_id: str
    name: str
    #: The queues it is for; empty is all.
    queues: list[str]
    #: Requests per minute.
    rate_limit: int | None
    is_active: bool
    created_at: datetime
    #: To the minute.
    last_used: datetime | None
    expires_at: datetime | None


class NewKey(Key):
    """A new API key, with the key itself, this once."""

    key: str


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
