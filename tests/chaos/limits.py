"""Limits in the load: a plan that one organization runs into, and queues of all.

A quota and a concurrency must hold in every snapshot, a rate in every stretch of time.
"""

import json
from typing import Any, Final
from uuid import UUID

import asyncpg

#: Of an organization's plan: soon reached when jobs pile up, and when many ask at once.
_PLAN: Final = {
    "max_active_jobs": 80,
    "rate_limit_requests_per_second": 60,
    "rate_limit_burst": 90,
}
_WORKED_ON_MAX: Final = 4
_BEGUN_A_SECOND: Final = 6
#: queue → how it is configured, everywhere
QUEUES: Final[dict[str, dict[str, Any]]] = {
    "hooks-0": {"rate_limit": _BEGUN_A_SECOND},
    "hooks-1": {"settings": {"concurrency": _WORKED_ON_MAX}},
}
#: How long a stretch a rate is asked of; a second's worth may come at once before it.
_STRETCH_SECONDS: Final = 10

_IMPOSE: Final = """
UPDATE organizations
   SET custom_limits = $2::text::jsonb
 WHERE id = $1
"""
_BEYOND_PLAN: Final = """
SELECT organization_id, count(*) AS active
  FROM places
  JOIN lanes ON lanes.id = lane_id
  JOIN organizations ON organizations.id = organization_id
 WHERE place NOT IN ('finished', 'dead')
   AND custom_limits ? 'max_active_jobs'
 GROUP BY organization_id
HAVING count(*) > $1
"""
_BEYOND_CONCURRENCY: Final = """
SELECT organization_id, count(*) AS worked_on
  FROM leased
  JOIN lanes ON lanes.id = lane_id
 WHERE queue_name = 'hooks-1'
 GROUP BY organization_id
HAVING count(*) > $1
"""
_BEYOND_RATE: Final = """
WITH begun AS (
    SELECT organization_id, at,
           row_number() OVER (PARTITION BY organization_id ORDER BY at) AS n
      FROM journal
      JOIN lanes ON lanes.id = lane_id
     WHERE transition = 'started'
       AND queue_name = 'hooks-0'
)
SELECT organization_id, early.at, late.at - early.at AS within
  FROM begun AS early
  JOIN begun AS late USING (organization_id)
 WHERE late.n = early.n + $1
   AND late.at - early.at < make_interval(secs => $2)
"""


async def impose(database_url: str, organization_id: UUID) -> None:
    """Put an organization on a plan with limits."""
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(_IMPOSE, organization_id, json.dumps(_PLAN))
    finally:
        await conn.close()


async def passed(conn: asyncpg.Connection) -> list[tuple[str, Any]]:
    """Return which limit is passed at the moment, by whom."""
    plan = await conn.fetch(_BEYOND_PLAN, _PLAN["max_active_jobs"])
    queue = await conn.fetch(_BEYOND_CONCURRENCY, _WORKED_ON_MAX)
    return [("quota", dict(row)) for row in plan] + [
        ("concurrency", dict(row)) for row in queue
    ]


async def outrun(conn: asyncpg.Connection) -> list[tuple[str, Any]]:
    """Return where more was begun than a rate allows, in all of the journal."""
    most = _BEGUN_A_SECOND * (_STRETCH_SECONDS + 1)
    rows = await conn.fetch(_BEYOND_RATE, most, _STRETCH_SECONDS)
    return [("rate", dict(row)) for row in rows]
