"""Overview: how an organization, or the whole house, stands; for people who look."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "overview")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much an organization has of what plans count."""

    jobs_today: int
    active_jobs: int
    queues: int
    workers: int
    api_keys: int


async def usage_of(
    conn: Conn, *, organization_ids: Sequence[UUID]
) -> dict[UUID, Counts]:
    """Return how much each of these organizations has."""
    rows = await conn.fetch(SQL["usage_of"], list(organization_ids))
    return {id_: Counts(*counts) for id_, *counts in rows}


async def count_by_plan(conn: Conn) -> list[Row]:
    """Return for each plan ``organizations`` and those ``created_today``, …."""
    return list(await conn.fetch(SQL["count_by_plan"]))


async def count_workers(conn: Conn) -> Row:
    """Return ``total``, ``healthy`` and ``degraded`` workers of the whole house."""
    return _one(await conn.fetchrow(SQL["count_workers"]))


async def count_workers_of(
    conn: Conn, *, organization_id: UUID, queue_names: Sequence[str] | None
) -> Row:
    """Return ``total`` workers of an organization, and those that are ``healthy``."""
    return _one(
        await conn.fetchrow(
            SQL["count_workers_of"],
            organization_id,
            None if queue_names is None else list(queue_names),
        )
    )


async def busiest_queues(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    limit: int,
) -> list[Row]:
    """Return up to *limit* ``name``, ``pending``, ``processing``, ``paused``."""
    return list(
        await conn.fetch(
            SQL["busiest_queues"],
            organization_id,
            None if queue_names is None else list(queue_names),
            limit,
        )
    )


def _one(row: Row | None) -> Row:
    if row is None:
        raise LookupError("an aggregate returned nothing")
    return row
