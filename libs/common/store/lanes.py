"""Lanes: what waits in one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "lanes")


class LaneName(NamedTuple):
    """What makes a lane, together with the one for its retries.

    *destination* is an origin, ``endpoint:<id>``, or empty for workers' jobs.
    """

    organization_id: UUID
    queue_name: str
    destination: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane with its number."""

    id: int
    organization_id: UUID
    queue_name: str
    destination: str
    #: Whether its jobs are pushed to the destination, or wait for a worker.
    push: bool = True
    endpoint_id: UUID | None = None
    #: Whether it is for jobs that are tried again.
    retries: bool = False
    #: Its organization's part of what is carried at once, against that of others.
    weight: int = 1


def endpoint_destination(endpoint_id: UUID) -> str:
    """Return the destination of the lanes of an endpoint."""
    return f"endpoint:{endpoint_id}"


async def open_lanes(conn: Conn, *, names: Sequence[LaneName]) -> dict[LaneName, int]:
    """Return the numbers of the lanes with these names, creating what is missing.

    Each is the lane of jobs that are tried for the first time.
    """
    wanted = list(names)
    found: dict[LaneName, int] = {}
    while wanted:
        rows = await conn.fetch(
            SQL["open_lanes"],
            [name.organization_id for name in wanted],
            [name.queue_name for name in wanted],
            [name.destination for name in wanted],
        )
        for name, row in zip(wanted, rows, strict=True):
            if row["id"] is not None:
                found[name] = row["id"]
        # Somebody else created it while we looked: the next look sees it.
        wanted = [name for name in wanted if name not in found]
    return found


async def find_lanes(conn: Conn, *, names: Sequence[LaneName]) -> dict[LaneName, int]:
    """Return the numbers of those lanes with these names that there are."""
    rows = await conn.fetch(
        SQL["find_lanes"],
        [name.organization_id for name in names],
        [name.queue_name for name in names],
        [name.destination for name in names],
    )
    return {LaneName(*name): id_ for id_, *name in rows}


async def read_lanes(conn: Conn, *, ids: Sequence[int]) -> list[Lane]:
    """Return the lanes with these numbers."""
    return [Lane(**row) for row in await conn.fetch(SQL["read_lanes"], list(ids))]


async def ready_of_queue(
    conn: Conn, *, organization_id: UUID, queue_name: str
) -> list[Lane]:
    """Return the lanes of a queue in which jobs wait to be begun."""
    rows = await conn.fetch(SQL["ready_of_queue"], organization_id, queue_name)
    return [Lane(**row) for row in rows]
