"""Signing secrets of organizations; always sealed here (see ``sealing``)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "signing_secrets")


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A sealed secret; *expires_at* is set on the ones that a newer one replaced."""

    organization_id: UUID
    sealed: bytes
    created_at: datetime
    expires_at: datetime | None


async def current_secrets(
    conn: Conn, *, organization_ids: Collection[UUID]
) -> dict[UUID, list[SealedSecret]]:
    """Return the secrets that sign for these organizations now, newest first."""
    found: dict[UUID, list[SealedSecret]] = {id_: [] for id_ in organization_ids}
    for row in await conn.fetch(SQL["current_secrets"], list(organization_ids)):
        found[row["organization_id"]].append(SealedSecret(*row))
    return found


async def replace_secret(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    sealed: bytes,
    overlap: timedelta,
) -> None:
    """Make *sealed* the current secret; the one before signs on for *overlap*."""
    await conn.execute(SQL["replace_secret"], id_, organization_id, sealed, overlap)
