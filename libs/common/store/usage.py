"""How much of its plan an organization uses (contract 4.4).

Only organizations with limits are counted while they create.  `lock` comes first, in a
transaction: statements after it see what whoever held the lock before had created.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "usage")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organization has now; jobs of today are those since midnight UTC."""

    jobs_today: int
    active_jobs: int
    queues: int
    workers: int
    api_keys: int
    #: Endpoints and outgoing webhooks that are enabled.
    webhooks: int
    #: Those that fire.
    schedules: int
    #: Those that are not over.
    workflows: int


async def lock(conn: Conn, *, organization_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return how many jobs each created today; wait for who else counts them.

    An organization that is no more is left out.
    """
    rows = await conn.fetch(SQL["lock"], sorted(organization_ids))
    return {row["organization_id"]: row["jobs"] for row in rows}


async def count_active(conn: Conn, *, limits: Mapping[UUID, int]) -> dict[UUID, int]:
    """Return how many jobs have not ended; one more than the limit is the most."""
    rows = await conn.fetch(
        SQL["count_active"], list(limits.keys()), list(limits.values())
    )
    return {row["organization_id"]: row["jobs"] for row in rows}


async def queue_names(
    conn: Conn, *, organization_ids: Collection[UUID]
) -> dict[UUID, set[str]]:
    """Return the queues that each has, configured or not."""
    found: dict[UUID, set[str]] = {id_: set() for id_ in organization_ids}
    for row in await conn.fetch(SQL["queue_names"], list(organization_ids)):
        found[row["organization_id"]].add(row["name"])
    return found


async def charge(conn: Conn, *, created: Mapping[UUID, int]) -> None:
    """Count jobs that were created, in the transaction that locked the usage."""
    await conn.execute(SQL["charge"], list(created.keys()), list(created.values()))


async def read(conn: Conn, *, organization_id: UUID, counted: bool) -> Usage:
    """Return how much an organization has.

    *counted* is whether its plan limits jobs; if not, today's jobs are counted now.
    """
    [row] = await conn.fetch(SQL["read"], organization_id, counted)
    return Usage(**row)


async def forget_days(conn: Conn, *, at_most: int) -> None:
    """Delete what was counted on days that are over."""
    await conn.execute(SQL["forget_days"], at_most)


async def reset(conn: Conn, *, organization_id: UUID) -> None:
    """Forget how many jobs an organization created today."""
    await conn.execute(SQL["reset"], organization_id)
