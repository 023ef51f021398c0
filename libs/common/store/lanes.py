"""Lanes: what waits in one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "lanes")


class LaneName(NamedTuple):
    """What makes a lane: *destination* is an origin, or empty for workers' jobs."""

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


async def open_lanes(conn: Conn, *, names: Sequence[LaneName]) -> dict[LaneName, int]:
    """Return the numbers of the lanes with these names, creating what is missing."""
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


async def read_lanes(conn: Conn, *, ids: Sequence[int]) -> list[Lane]:
    """Return the lanes with these numbers."""
    return [Lane(**row) for row in await conn.fetch(SQL["read_lanes"], list(ids))]
