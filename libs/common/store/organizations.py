"""Organizations: who jobs belong to."""

from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Conn, Row
from libs.common.errors import Conflict
from libs.common.sql import load

SQL: Final = load(__package__, "organizations")


async def create_organization(
    conn: Conn,
    *,
    id_: UUID,
    name: str,
    slug: str,
    billing_email: str | None,
    plan_tier: str,
) -> Row:
    """Create an organization; raises `Conflict` when slug or e-mail is taken."""
    try:
        row = await conn.fetchrow(
            SQL["create_organization"], id_, name, slug, billing_email, plan_tier
        )
    except asyncpg.UniqueViolationError as error:
        taken = "billing_email" if "email" in str(error) else "slug"
        raise Conflict(f"{taken}: already taken") from error
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return row


async def count_organizations(conn: Conn) -> int:
    """Return how many organizations there are."""
    count: int = await conn.fetchval(SQL["count_organizations"])
    return count


async def read_organization(conn: Conn, *, id_: UUID) -> Row | None:
    """Return one organization, or None."""
    return await conn.fetchrow(SQL["read_organization"], id_)
