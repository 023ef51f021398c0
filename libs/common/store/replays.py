"""Replays: what an endpoint is sent again, and how far that came."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from libs.common.db import Conn, Row
from libs.common.sql import load

SQL: Final = load(__package__, "replays")

#: What is sent again: dead letters, messages that never went there, or every message.
Status = Literal["failed", "missed", "all"]
State = Literal["running", "completed", "cancelled"]

#: How far it is counted what there is to look at.
COUNTED_MAX: Final = 100_000

_NOTHING: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplay:
    """A replay that was checked; *until* is exclusive, and now when absent."""

    id: UUID
    organization_id: UUID
    endpoint_id: UUID
    since: datetime
    until: datetime | None
    status: Status
    filter: Mapping[str, Any] | None
    rate_per_second: float
    actor: str


async def create_replay(conn: Conn, *, new: NewReplay) -> Row | None:
    """Create a replay; return it.

    None when its endpoint is not there, or has another that is running.
    """
    return await conn.fetchrow(
        SQL["create_replay"],
        new.id,
        new.organization_id,
        new.endpoint_id,
        new.since,
        new.until,
        new.status,
        None if new.filter is None else orjson.dumps(new.filter).decode(),
        new.rate_per_second,
        new.actor,
        COUNTED_MAX,
    )


async def read_replay(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """Return one replay, or None."""
    return await conn.fetchrow(SQL["read_replay"], organization_id, id_)


async def list_replays(
    conn: Conn, *, organization_id: UUID, endpoint_id: UUID, limit: int, offset: int
) -> list[Row]:
    """Return the replays of an endpoint, the newest first."""
    return list(
        await conn.fetch(
            SQL["list_replays"], organization_id, endpoint_id, limit, offset
        )
    )


async def cancel_replay(conn: Conn, *, organization_id: UUID, id_: UUID) -> Row | None:
    """End a replay that is running; return it, or None."""
    return await conn.fetchrow(SQL["cancel_replay"], organization_id, id_)


async def take_replay(conn: Conn) -> Row | None:
    """Return the replay to go on with, locked until the transaction ends."""
    return await conn.fetchrow(SQL["take_replay"])


async def next_failed(
    conn: Conn, *, replay: Row, limit: int, with_payload: bool
) -> list[Row]:
    """Return the next dead letters to send again."""
    return list(
        await conn.fetch(
            SQL["next_failed"],
            replay["endpoint_id"],
            replay["since"],
            replay["until"],
            replay["reached"] or _NOTHING,
            limit,
            with_payload,
        )
    )


async def next_messages(
    conn: Conn, *, replay: Row, limit: int, with_payload: bool
) -> list[Row]:
    """Return the next messages to look at."""
    return list(
        await conn.fetch(
            SQL["next_messages"],
            replay["organization_id"],
            replay["since"],
            replay["until"],
            replay["reached"] or _NOTHING,
            limit,
            with_payload,
            replay["endpoint_id"],
        )
    )


async def find_lane(conn: Conn, *, lane_id: int) -> int:
    """Return the lane for what is repeated, beside a lane."""
    found: int = await conn.fetchval(SQL["find_lane"], lane_id)
    return found


async def advance(
    conn: Conn,
    *,
    id_: UUID,
    reached: UUID | None,
    examined: int,
    replayed: int,
    pause_seconds: float,
    state: State,
) -> None:
    """Remember how far a replay came; *pause_seconds* is until it may go on."""
    await conn.execute(
        SQL["advance"], id_, reached, examined, replayed, pause_seconds, state
    )


async def forget_replays(conn: Conn, *, age: timedelta, at_most: int) -> None:
    """Delete replays that are over and began longer ago than this."""
    await conn.execute(SQL["forget_replays"], age, at_most)
