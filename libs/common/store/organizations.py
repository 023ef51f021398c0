"""Organizations: who jobs belong to."""

from collections.abc import Collection, Mapping
from typing import Any, Final
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
        raise _taken(error) from error
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


async def lock_organization(conn: Conn, *, id_: UUID) -> bool:
    """Keep others from counting what it has; return whether there is such a one."""
    return await conn.fetchval(SQL["lock_organization"], id_) is not None


async def change_organization(
    conn: Conn,
    *,
    id_: UUID,
    name: str | None = None,
    billing_email: str | None = None,
    settings: str | None = None,
) -> Row | None:
    """Change what is given, keep the rest; *settings* (JSON) replace.

    Returns None when there is no such organization; raises `Conflict` when the e-mail
    is taken.
    """
    try:
        return await conn.fetchrow(
            SQL["change_organization"], id_, name, billing_email, settings
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from error


async def change_account(
    conn: Conn,
    *,
    id_: UUID,
    plan_tier: str | None,
    changes: Mapping[str, Any],
    weight: int | None = None,
) -> Row | None:
    """Change tier and weight if they are given, and each of *changes*, to None as well.

    *changes* are some of ``custom_limits`` (JSON), ``stripe_customer_id`` and
    ``stripe_subscription_id``.  Returns None when there is no such organization.
    """
    return await conn.fetchrow(
        SQL["change_account"],
        id_,
        plan_tier,
        changes.get("custom_limits"),
        changes.get("stripe_customer_id"),
        changes.get("stripe_subscription_id"),
        list(changes),
        weight,
    )


async def put_webhook_token(conn: Conn, *, id_: UUID, token: str | None) -> bool:
    """Set or take away the webhook token; return whether there is such a one."""
    return await conn.fetchval(SQL["put_webhook_token"], id_, token) is not None


async def taken_slugs(conn: Conn, *, slugs: Collection[str]) -> set[str]:
    """Return those of *slugs* that somebody has."""
    return {row["slug"] for row in await conn.fetch(SQL["taken_slugs"], list(slugs))}


async def is_in_use(conn: Conn, *, id_: UUID) -> tuple[bool, bool]:
    """Return whether it has jobs that are not over, and workers that live."""
    row = await conn.fetchrow(SQL["is_in_use"], id_)
    return (row["by_jobs"], row["by_workers"]) if row else (False, False)


async def close_organization(conn: Conn, *, id_: UUID) -> bool:
    """Revoke all its keys and mark it as deleted; return whether there is one."""
    return await conn.fetchval(SQL["close_organization"], id_) is not None


async def give_up(conn: Conn, *, id_: UUID) -> bool:
    """Let it be erased with everything it has; return whether there was one."""
    return await conn.fetchval(SQL["give_up"], id_) is not None


async def list_organizations(
    conn: Conn,
    *,
    plan_tier: str | None,
    search: str | None,
    sort_by: str,
    descending: bool,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return a page of organizations; *search* is in name, slug, e-mail or id."""
    return list(
        await conn.fetch(
            SQL["list_organizations"],
            plan_tier,
            None if search is None else search.lower(),
            sort_by,
            descending,
            limit,
            offset,
        )
    )


async def count_listed(conn: Conn, *, plan_tier: str | None, search: str | None) -> int:
    """Return how many organizations such a list has on all its pages."""
    count: int = await conn.fetchval(
        SQL["count_listed"], plan_tier, None if search is None else search.lower()
    )
    return count


def _taken(error: asyncpg.UniqueViolationError) -> Conflict:
    taken = "billing_email" if "email" in str(error) else "slug"
    return Conflict(f"{taken}: already taken")
