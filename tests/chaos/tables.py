"""What Postgres says of a run when it is over."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.store import invariants
from tests.chaos.limits import outrun, passed


@dataclass(frozen=True)
class Move:
    """One row of the journal."""

    seq: int
    xid: int
    transition: str
    attempt: int
    actor: str | None
    at: datetime


@dataclass(frozen=True)
class Standing:
    """Where a job stands."""

    place: str
    #: Of a job that is finished or dead: how, or why.
    ending: str
    retry_count: int
    key: str | None
    message: str | None = None


@dataclass
class Tables:
    """All of it; ids are texts."""

    jobs: dict[str, Standing] = field(default_factory=dict)
    #: In the order in which they happened.
    moves: dict[str, list[Move]] = field(default_factory=dict)
    #: schedule → tick → the jobs of its runs
    runs: dict[UUID, dict[datetime, list[str | None]]] = field(default_factory=dict)
    #: Which invariant is broken, by what.
    broken: list[tuple[str, Any]] = field(default_factory=list)
    unannounced: int = 0

    @property
    def rows(self) -> dict[tuple[int, int], str]:
        """The positions of all rows of the journal, with their jobs."""
        return {
            (move.xid, move.seq): job
            for job, moves in self.moves.items()
            for move in moves
        }


_JOBS = """
SELECT jobs.id::text AS id, places.place, places.retry_count,
       coalesce(places.ending, '') AS ending, jobs.idempotency_key AS key,
       jobs.message_id::text AS message
  FROM jobs
  LEFT JOIN places ON places.job_id = jobs.id
"""
_MOVES = """
SELECT job_id::text AS job, seq, xid::text AS xid, transition::text AS transition,
       attempt, actor, at
  FROM journal
 ORDER BY journal.xid, seq
"""
#: Instead of a job, where the plan had no room for it.
NO_ROOM = "no room"
_RUNS = f"""
SELECT schedule_id, tick,
       coalesce(job_id::text,
                CASE WHEN custom_limits ? 'max_active_jobs' THEN '{NO_ROOM}' END) AS job
  FROM schedule_runs
  JOIN schedules ON schedules.id = schedule_id
  JOIN organizations ON organizations.id = organization_id
"""
_UNANNOUNCED = """
SELECT count(*) FROM journal, announced
 WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)
"""
#: Accepted jobs that have not ended.
_OPEN = """
SELECT place, count(*) AS jobs
  FROM places
 WHERE place NOT IN ('finished', 'dead')
 GROUP BY 1
"""


async def read_tables(database_url: str) -> Tables:
    """Read all of it, in one snapshot."""
    tables = Tables()
    conn = await asyncpg.connect(database_url)
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            for row in await conn.fetch(_JOBS):
                tables.jobs[row["id"]] = Standing(
                    place=row["place"] or "nowhere",
                    ending=row["ending"],
                    retry_count=row["retry_count"] or 0,
                    key=row["key"],
                    message=row["message"],
                )
            moves: dict[str, list[Move]] = defaultdict(list)
            for row in await conn.fetch(_MOVES):
                moves[row["job"]].append(
                    Move(
                        row["seq"],
                        int(row["xid"]),
                        row["transition"],
                        row["attempt"],
                        row["actor"],
                        row["at"],
                    )
                )
            tables.moves = dict(moves)
            for row in await conn.fetch(_RUNS):
                runs = tables.runs.setdefault(row["schedule_id"], {})
                runs.setdefault(row["tick"], []).append(row["job"])
            tables.unannounced = await conn.fetchval(_UNANNOUNCED)
            tables.broken = await broken_invariants(conn) + await outrun(conn)
    finally:
        await conn.close()
    return tables


async def broken_invariants(conn: asyncpg.Connection) -> list[tuple[str, Any]]:
    """Return what the queries of promise 4 find, and which limits are passed."""
    found: list[tuple[str, Any]] = []
    for ask in (
        invariants.misplaced,
        invariants.unjournaled,
        invariants.forgotten,
        invariants.out_of_turn,
    ):
        found += [(ask.__name__, dict(row)) for row in await ask(conn)]
    return found + await passed(conn)


async def open_jobs(conn: asyncpg.Connection) -> dict[str, int]:
    """Return how many jobs have not ended, by place."""
    rows: Sequence[asyncpg.Record] = await conn.fetch(_OPEN)
    return {row["place"]: row["jobs"] for row in rows}
