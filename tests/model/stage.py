"""Where the model test plays: a connection, a clock, and a look at everything at once.

Each example is one transaction that is undone at its end: quick, and ``now()`` stands
still in it.  Time passes by moving what the rows say of time into the past, in ticks
that are longer than any example lasts: claims go by a clock that does not stand still.
"""

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store.lines import Line
from tests.support import stock
from tests.support.expectation import House
from tests.support.lines import configure

_PLACES = """
WITH crashes AS (
    SELECT job_id, crash_count FROM ready
    UNION ALL SELECT job_id, crash_count FROM scheduled
    UNION ALL SELECT job_id, crash_count FROM held
    UNION ALL SELECT job_id, crash_count FROM leased
)
SELECT job_id, place, lane_id, rank, attempt, retry_count, crash_count, lease_id, ending
  FROM places LEFT JOIN crashes USING (job_id)
"""
_BESIDE = """
SELECT (SELECT array_agg(id) FROM jobs) AS jobs,
       (SELECT array_agg((organization_id, key, job_id)) FROM idempotency) AS keys,
       (SELECT array_agg((job_id, attempt, verdict::text)) FROM attempts) AS attempts,
       (SELECT array_agg(job_id) FROM expiries) AS expiries,
       (SELECT array_agg((id, extract(epoch FROM deadline - now())::float8, taken_up))
          FROM leases) AS leases,
       (SELECT array_agg((job_id, owner, extract(epoch FROM deadline - now())::float8))
          FROM leased WHERE owner IS NOT NULL) AS held,
       (SELECT array_agg((child_id, parent_id, mode::text, kind::text))
          FROM dependencies) AS edges,
       (SELECT array_agg((scope, key, job_id, called)
                         ORDER BY scope COLLATE "C", key COLLATE "C", position)
          FROM lines) AS lines,
       (SELECT array_agg(DISTINCT (scope, key)) FROM line_checks) AS noted,
       (SELECT array_agg((job_id, transition::text, attempt)) FROM journal
         WHERE seq > $1) AS told,
       (SELECT max(seq) FROM journal) AS seq
"""
#: Every moment that a row knows, moved into the past.
_LATER = (
    "UPDATE ready SET ready_at = ready_at - $1::interval",
    "UPDATE scheduled SET run_at = run_at - $1::interval",
    "UPDATE waiting SET run_at = run_at - $1::interval",
    "UPDATE held SET run_at = run_at - $1::interval",
    "UPDATE leases SET deadline = deadline - $1::interval",
    "UPDATE leased SET deadline = deadline - $1::interval",
    "UPDATE expiries SET expires_at = expires_at - $1::interval",
    "UPDATE jobs SET expires_at = expires_at - $1::interval",
    "UPDATE rechecks SET at = at - $1::interval",
    "UPDATE dependencies SET created_at = created_at - $1::interval",
)
#: What a claim has just made is to run out by the model's clock.
_CLAIMED = (
    "UPDATE leases SET deadline = now() + $2::interval WHERE id = ANY ($1)",
    "UPDATE leased SET deadline = now() + $2::interval"
    " WHERE lease_id = ANY ($1) AND owner IS NOT NULL",
)
_DEADLINES = (
    "SELECT deadline - now() FROM leases WHERE id = ANY ($1)",
    "SELECT deadline - now() FROM leased"
    " WHERE lease_id = ANY ($1) AND owner IS NOT NULL",
)
#: A unit of the model's time.
TICK = timedelta(minutes=1)


class Stage:
    """A connection on a loop of its own, and the lanes that all examples share."""

    def __init__(self, url: str) -> None:
        self.loop = uvloop.new_event_loop()
        self.conn = self.do(
            asyncpg.connect(url, server_settings={"jit": "off", **BY_KEY})
        )
        for table in (
            "ready",
            "scheduled",
            "leased",
            "leases",
            "held",
            "waiting",
            "rechecks",
            "lines",
            "line_checks",
        ):
            # Where rows stand on disk must not depend on when somebody tidied up.
            self.do(
                self.conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            )
        acme, other = new_id(), new_id()
        self.lines = [
            self.do(
                stock.open_line(
                    self.conn, organization_id=id_, queue_name=queue, push=push
                )
            )
            for id_, queue, push in (
                (acme, "mail", True),
                (acme, "work", False),
                (acme, "bills", True),
                (other, "mail", True),
                (other, "work", False),
            )
        ]
        #: One of them is an endpoint's.
        self.endpoint = self.do(stock.open_endpoint(self.conn))
        self.lines.append(self.endpoint)
        self.do(configure(self.conn, self.lines[1], '{"concurrency_per_key": 2}'))
        #: Whose jobs take turns, and how many of each at once.
        self.turns = {
            Line.of_queue(acme, "work", "key"): 2,
            Line.of_queue(acme, "work", "other"): 2,
            Line.of_endpoint(acme): 1,
            Line.of_endpoint(self.endpoint.endpoint_id, "key"): 1,
        }

    def do(self, coroutine) -> Any:
        """Wait for *coroutine*."""
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.do(self.conn.close())
        self.loop.close()

    def begin(self) -> datetime:
        """Begin an example; return the moment at which the clock stands."""
        self._transaction = self.conn.transaction()
        self.do(self._transaction.start())
        now: datetime
        now, self._seq = self.do(
            self.conn.fetchrow(
                "SELECT now(), coalesce((SELECT max(seq) FROM journal), 0)"
            )
        )
        return now

    def end(self) -> None:
        """Undo the example."""
        self.do(self._transaction.rollback())

    def wait(self, ticks: float) -> None:
        """Let time pass."""
        for statement in _LATER:
            self.do(self.conn.execute(statement, ticks * TICK))

    def settle_clock(self, lease_ids: Collection[UUID], ticks: float) -> None:
        """Let leases run out by the model's clock, as they nearly do by the other."""
        for statement in _DEADLINES:
            rows = self.do(self.conn.fetch(statement, list(lease_ids)))
            assert all(abs(row[0] - ticks * TICK) < TICK / 2 for row in rows)
        for statement in _CLAIMED:
            self.do(self.conn.execute(statement, list(lease_ids), ticks * TICK))

    def assert_places(self, house: House) -> None:
        """Every job is where it should be, with the counts it should have."""
        rows = self.do(self.conn.fetch(_PLACES))

        assert sorted((row[0], tuple(row)[1:]) for row in rows) == sorted(
            (job.id, job.row()) for job in house.standing()
        )

    def assert_beside(self, house: House) -> None:
        """Bodies, keys, attempts, expiries, leases and the journal agree, too."""
        row = self.do(self.conn.fetchrow(_BESIDE, self._seq))

        assert set(row["jobs"] or ()) == {job.id for job in house.standing()}
        assert set(row["keys"] or ()) == {
            (*key, job_id) for key, job_id in house.keys.items()
        }
        assert set(row["attempts"] or ()) == {
            (job.id, attempt, verdict)
            for job in house.standing()
            for attempt, verdict in job.attempts.items()
        }
        assert set(row["expiries"] or ()) == {
            job.id for job in house.jobs.values() if job.expiry_stands
        }
        assert set(row["leases"] or ()) == {
            (id_, _seconds(lease.deadline - house.now), lease.taken_up)
            for id_, lease in house.leases.items()
        }
        assert set(row["held"] or ()) == {
            (job.id, job.owner, _seconds(job.deadline - house.now))
            for job in house.standing()
            if job.deadline is not None
        }
        assert set(row["edges"] or ()) == {
            (job.id, parent_id, *awaited)
            for job in house.standing()
            for parent_id, awaited in job.parents.items()
        }
        assert [tuple(each) for each in row["lines"] or ()] == house.turns.rows()
        assert set(row["noted"] or ()) == {
            (line.scope, line.key) for line in house.turns.noted
        }
        assert Counter(row["told"] or ()) == Counter(house.told)
        house.told.clear()
        self._seq = row["seq"] or self._seq


def _seconds(ticks: float) -> float:
    return ticks * TICK.total_seconds()
