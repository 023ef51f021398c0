"""Schedules: jobs that come by themselves, as people configure and see them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from libs.common.db import Conn, Row
from libs.common.sql import load
from libs.common.ticks import Tick

SQL: Final = load(__package__, "schedules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What can be said of a schedule beside its queue, in the order of the statements.

    *payload*, *retry*, *tags*, *metadata* and *target_headers* are JSON texts; *rank*
    is 100 - priority.
    """

    name: str
    description: str | None = None
    cron_expression: str
    timezone: str = "UTC"
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter_seconds: int = 0
    misfire: str = "coalesce"
    catch_up_max: int | None = None
    catch_up_seconds: int | None = None
    overlap: str = "allow"
    payload: str
    job_type: str | None = None
    rank: int = 100
    max_retries: int | None = None
    timeout_seconds: int | None = None
    retry: str | None = None
    tags: str | None = None
    metadata: str | None = None
    target_url: str | None = None
    target_method: str | None = None
    target_headers: str | None = None
    target_timeout_seconds: float | None = None
    endpoint_id: UUID | None = None
    #: Of the job's lane: an origin, ``endpoint:<id>``, or empty for workers' jobs.
    destination: str = ""

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return what a schedule says."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


async def read_clock(conn: Conn) -> datetime:
    """Return what time it is, for everybody: when the transaction began."""
    now: datetime = await conn.fetchval(SQL["read_clock"])
    return now


async def create_schedule(
    conn: Conn,
    *,
    id_: UUID,
    organization_id: UUID,
    queue_name: str,
    definition: Definition,
    following: Tick,
    edition: str,
    created_at: datetime,
) -> None:
    """Create a schedule that fires next as *following* says."""
    await conn.execute(
        SQL["create_schedule"],
        id_,
        organization_id,
        queue_name,
        *astuple(definition),
        *following,
        edition,
        created_at,
    )


async def change_schedule(
    conn: Conn,
    *,
    id_: UUID,
    definition: Definition,
    following: Tick | None,
    edition: str,
) -> None:
    """Change a schedule that the caller has locked."""
    await conn.execute(
        SQL["change_schedule"],
        id_,
        *astuple(definition),
        *(following or (None, None)),
        edition,
    )


async def read_schedule(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one schedule, or None."""
    return await conn.fetchrow(SQL["read_schedule"], organization_id, id_)


async def lock_schedule(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one schedule, or None; until the transaction ends nobody fires it."""
    return await conn.fetchrow(SQL["lock_schedule"], organization_id, id_)


async def list_schedules(
    conn: Conn,
    *,
    organization_id: UUID,
    queue_names: Sequence[str] | None,
    queue_name: str | None,
    active: bool | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return schedules, newest first; None does not filter."""
    return list(
        await conn.fetch(
            SQL["list_schedules"],
            organization_id,
            None if queue_names is None else list(queue_names),
            queue_name,
            active,
            limit,
            offset,
        )
    )


async def count_active(conn: Conn, *, organization_id: UUID, beside: UUID) -> int:
    """Return how many schedules fire, beside one."""
    count: int = await conn.fetchval(SQL["count_active"], organization_id, beside)
    return count


async def pause(conn: Conn, *, organization_id: UUID, id_: UUID) -> bool:
    """Let a schedule not fire any more; return whether there is such a one."""
    return await conn.fetchval(SQL["pause"], organization_id, id_) is not None


async def resume(
    conn: Conn, *, id_: UUID, following: Tick | None, edition: str
) -> None:
    """Let a schedule that the caller has locked fire again."""
    await conn.execute(SQL["resume"], id_, *(following or (None, None)), edition)


async def delete_schedule(conn: Conn, *, organization_id: UUID, id_: UUID) -> bool:
    """Delete a schedule and what it did; return whether there was such a one."""
    return await conn.fetchval(SQL["delete_schedule"], organization_id, id_) is not None


async def list_runs(
    conn: Conn, *, schedule_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return what a schedule did, newest first, with how each job stands."""
    return list(await conn.fetch(SQL["list_runs"], schedule_id, limit, offset))


async def lock_outdated(conn: Conn, *, edition: str, limit: int) -> list[Row]:
    """Return schedules whose next tick was found with an older edition of the zones."""
    return list(await conn.fetch(SQL["lock_outdated"], edition, limit))


async def update_edition(
    conn: Conn, *, following: Sequence[tuple[UUID, Tick | None]], edition: str
) -> None:
    """Note what comes next by the present edition, of schedules that are locked."""
    ticks: list[Any] = [tick or (None, None) for _, tick in following]
    await conn.execute(
        SQL["update_edition"],
        [id_ for id_, _ in following],
        [tick for tick, _ in ticks],
        [at for _, at in ticks],
        edition,
    )
