"""What an attempt needs to know of its endpoint; secrets are sealed here."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import orjson

from libs.common.db import Conn
from libs.common.messages import Receiver, SealedKey
from libs.common.sql import load

SQL: Final = load(__package__, "receivers")


@dataclass(frozen=True, slots=True)
class Key:
    """A sealed key; *expires_at* is set on those that a newer one replaced."""

    scheme: Literal["v1", "v1a", "contract"]
    sealed: bytes
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """An endpoint as it was at some version; *headers* is a JSON object."""

    id: UUID
    version: int
    #: See `endpoint_health.Outcomes`.
    url_version: int
    kind: Literal["endpoint", "outgoing"]
    url: str
    timeout_seconds: float
    headers: str
    auth: bytes | None
    tls: bytes | None
    send_traceparent: bool
    #: Those that sign, the current one first.
    keys: tuple[Key, ...]

    def receiver(self, *, now: datetime) -> Receiver:
        """Return how it wants its requests, without keys that have expired."""
        return Receiver(
            style="contract" if self.kind == "outgoing" else "standard",
            keys=[
                SealedKey(scheme=key.scheme, sealed=key.sealed)
                for key in self.keys
                if key.expires_at is None or key.expires_at > now
            ],
            headers=orjson.loads(self.headers),
            auth=self.auth,
            tls=self.tls,
            send_traceparent=self.send_traceparent,
        )


async def read_receivers(
    conn: Conn, *, endpoint_ids: Collection[UUID]
) -> dict[UUID, Configured]:
    """Return those of these endpoints that there are."""
    rows = await conn.fetch(SQL["read_receivers"], sorted(endpoint_ids))
    return {
        row["id"]: Configured(
            id=row["id"],
            version=row["version"],
            url_version=row["url_version"],
            kind=row["kind"],
            url=row["url"],
            timeout_seconds=row["timeout_seconds"],
            headers=row["headers"],
            auth=row["auth"],
            tls=row["tls"],
            send_traceparent=row["send_traceparent"],
            keys=tuple(
                Key(*key)
                for key in zip(
                    row["schemes"], row["sealed"], row["expire_at"], strict=True
                )
            ),
        )
        for row in rows
    }
