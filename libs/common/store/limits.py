"""Gates that jobs pass to be started, queues' and endpoints': how many may pass now.

Not to be called by themselves: `libs.common.admission` puts them in order.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "limits")


class Gate(NamedTuple):
    """What only so many jobs may pass: a queue, an endpoint, its part for retries."""

    kind: Literal["queue", "endpoint", "retries"]
    id: UUID


@dataclass(frozen=True, slots=True)
class Room:
    """How many jobs of a lane may pass a gate now; None is any number.

    *starts* is what the rate allows, *places* what the concurrency does.  The next
    start but those is free in *next_start_seconds*.  Nothing passes for *shut_seconds*.
    """

    lane_id: int
    gate: Gate
    starts: int | None
    next_start_seconds: float | None
    places: int | None
    shut_seconds: float


async def lock_gates(conn: Conn, *, lanes: Collection[int]) -> list[UUID]:
    """Keep others from starting jobs that pass these lanes' gates until we commit."""
    rows = await conn.fetch(SQL["lock_gates"], sorted(lanes))
    return [row["id"] for row in rows]


async def read_rooms(
    conn: Conn, *, lanes: Collection[int], locked: Sequence[UUID]
) -> list[Room]:
    """Return the rooms of these lanes at the gates that are *locked*.

    The narrowest gates come first.  A gate of an endpoint that is not locked has none.
    """
    rows = await conn.fetch(SQL["read_rooms"], sorted(lanes), locked)
    return [Room(lane_id, Gate(kind, id_), *room) for lane_id, kind, id_, *room in rows]


async def spend(conn: Conn, *, started: Mapping[Gate, int]) -> dict[UUID, float]:
    """Note how many jobs passed which gate.

    Return when (in seconds) the next may, of the gates that have a rate.
    """
    queues = {gate.id: jobs for gate, jobs in started.items() if gate.kind == "queue"}
    endpoints = {
        gate.id: jobs for gate, jobs in started.items() if gate.kind == "endpoint"
    }
    rows = await conn.fetch(
        SQL["spend"],
        list(queues),
        list(queues.values()),
        list(endpoints),
        list(endpoints.values()),
    )
    return {row["id"]: row["next_start_seconds"] for row in rows}
