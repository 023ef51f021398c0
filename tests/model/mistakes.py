"""Small mistakes in statements; the model test must fail with any of them."""

import asyncio
from types import ModuleType
from typing import NamedTuple

import asyncpg
import pytest

from libs.common.store import (
    claims,
    dependencies,
    interventions,
    jobs,
    leases,
    settlement,
    timers,
)
from tests.model.mistakes_at_rest import AT_REST
from tests.model.mistakes_in_flows import IN_FLOWS
from tests.model.mistakes_in_turns import IN_TURNS


class Mistake(NamedTuple):
    """*right* stands once in a statement, and *wrong* takes its place.

    Without a module the statement is a function of the schema.
    """

    module: ModuleType | None
    statement: str
    right: str
    wrong: str

    def make(self, database_url: str, patch: pytest.MonkeyPatch) -> None:
        """Make the mistake: in a function, in that database."""
        if self.module is None:
            asyncio.run(self._change_function(database_url))
        else:
            changed = self._wrong(self.module.SQL[self.statement])
            patch.setitem(self.module.SQL, self.statement, changed)

    async def _change_function(self, database_url: str) -> None:
        conn = await asyncpg.connect(database_url)
        definition = await conn.fetchval(
            "SELECT pg_get_functiondef($1::text::regproc)", self.statement
        )
        await conn.execute(self._wrong(definition))
        await conn.close()

    def _wrong(self, statement: str) -> str:
        assert statement.count(self.right) == 1, "the statement changed: so must this"
        return statement.replace(self.right, self.wrong)


MISTAKES = {
    "count an attempt that was not made": Mistake(
        settlement,
        "settle",
        "now(), job_id, attempt - 1, retry_count",
        "now(), job_id, attempt, retry_count",
    ),
    "put a retry into two places": Mistake(
        settlement,
        "settle",
        "WHERE transition = 'released'",
        "WHERE transition IN ('released', 'retrying')",
    ),
    "finish what was given up": Mistake(
        settlement, "settle", "'completed'::ending", "'cancelled'::ending"
    ),
    "forget that a retry was one": Mistake(
        settlement,
        "settle",
        "attempt, retry_count + 1, crash_count\n",
        "attempt, retry_count, crash_count\n",
    ),
    "let a retry stand among what is new": Mistake(
        settlement,
        "settle",
        "SELECT retry_lane_id FROM lanes WHERE lanes.id = closed.lane_id",
        "SELECT id FROM lanes WHERE lanes.id = closed.lane_id",
    ),
    "requeue among what is new": Mistake(
        interventions,
        "requeue",
        "SELECT retry_lane_id FROM lanes",
        "SELECT id FROM lanes",
    ),
    "claim by age alone": Mistake(
        claims,
        "claim",
        "ORDER BY rank, ready_at, job_id",
        "ORDER BY ready_at, job_id",
    ),
    "forget the crashes at the next claim": Mistake(
        claims,
        "claim",
        "attempt + 1, retry_count, crash_count",
        "attempt + 1, retry_count, 0",
    ),
    "lose a job of a lease": Mistake(
        claims,
        "claim",
        "array_agg(job_id ORDER BY job_id)",
        "(array_agg(job_id ORDER BY job_id))[1:1]",
    ),
    "recover from whoever holds it now": Mistake(
        leases,
        "recover",
        "\n       AND lease_id = ANY (ARRAY(SELECT id FROM dropped))",
        "",
    ),
    "recover a moment early": Mistake(
        leases, "recover", "deadline < least", "deadline <= least"
    ),
    "quarantine one crash late": Mistake(leases, "recover", ">= $2", "> $2"),
    "count a batch that was lost as a crash": Mistake(
        leases,
        "recover",
        "THEN attempt - 1 ELSE attempt END",
        "THEN attempt ELSE attempt END",
    ),
    "believe that nobody has a batch": Mistake(
        leases, "note_taken_up", "SET taken_up = true", "SET taken_up = false"
    ),
    "let a renewal shorten a lease": Mistake(
        leases,
        "renew",
        "greatest(deadline, now() + $2::interval)",
        "now() + $2::interval",
    ),
    "promote what is not due": Mistake(
        timers,
        "promote_due",
        "AND now()\n",
        "AND now() + '5 min'\n",
    ),
    "promote, and stay scheduled": Mistake(
        timers, "promote_due", "(SELECT address FROM due)", "'{}'::tid[]"
    ),
    "forget the crashes while scheduled": Mistake(
        timers,
        "promote_due",
        "attempt, retry_count, crash_count\n      FROM taken",
        "attempt, retry_count, 0\n      FROM taken",
    ),
    "forget to expire what somebody works on": Mistake(
        timers, "expire", "expiries.job_id LIMIT 1)", "expiries.job_id LIMIT 0)"
    ),
    "do not expire what is held": Mistake(
        timers, "expire", "\n    UNION ALL SELECT * FROM from_held", ""
    ),
    "expire again and again": Mistake(
        timers,
        "expire",
        "DELETE FROM expiries\n     WHERE",
        "DELETE FROM expiries\n     WHERE false AND",
    ),
    "cancel anybody's job": Mistake(
        interventions,
        "cancel",
        " AND organization_id = $1",
        " AND $1::uuid IS NOT NULL",
    ),
    "requeue with the old retries": Mistake(
        interventions,
        "requeue",
        "job_id, attempt)\n    SELECT lane_id, rank, now(), job_id, attempt\n",
        "job_id, retry_count)\n    SELECT lane_id, rank, now(), job_id, attempt\n",
    ),
    "requeue into other hands": Mistake(
        interventions, "requeue", "($4::text[] IS NULL OR", "($4::text[] IS NOT NULL OR"
    ),
    "purge, and keep the key": Mistake(
        interventions, "purge", "idempotency.key = bodies.idempotency_key", "false"
    ),
    "purge, and keep the answers": Mistake(
        interventions,
        "purge",
        "DELETE FROM attempts WHERE",
        "DELETE FROM attempts WHERE false AND",
    ),
    "purge anybody's letters": Mistake(
        interventions,
        "purge",
        "AND jobs.organization_id = $1",
        "AND $1::uuid IS NOT NULL",
    ),
    "create what a key forbids": Mistake(
        jobs, "create", "OR id IN (SELECT job_id FROM keyed)", "OR true"
    ),
    "run at once what is for later": Mistake(
        jobs, "create", "coalesce(run_at > now(), false)", "false"
    ),
    "forget to note an expiry": Mistake(
        jobs, "create", "WHERE expires_at IS NOT NULL", "WHERE expires_at > now()"
    ),
    "settle without the right lease": Mistake(
        settlement,
        "settle",
        "coalesce(leased.lease_id = told.named_lease_id,\n"
        "                            told.named_owner IS NOT NULL)",
        "true",
    ),
    "settle what another worker has": Mistake(
        settlement,
        "settle",
        "leased.owner IS NOT DISTINCT FROM told.named_owner",
        "(leased.owner IS NULL) = (told.named_owner IS NULL)",
    ),
    "settle when the time is over": Mistake(
        settlement,
        "settle",
        "OR leased.deadline > now()",
        "OR true",
    ),
    "settle for another organization": Mistake(
        settlement,
        "settle",
        "lanes.organization_id = told.organization_id",
        "true",
    ),
    "settle, and stay leased": Mistake(
        settlement,
        "settle",
        "(SELECT job_id FROM closed)",
        "'{}'::uuid[]",
    ),
    "settle twice what is told twice": Mistake(
        settlement,
        "settle",
        "DISTINCT ON (told.job_id)",
        "",
    ),
    "do not tell of a settlement": Mistake(
        settlement,
        "settle",
        "FROM closed\n    RETURNING job_id\n), ended",
        "FROM closed WHERE delay_seconds IS NULL\n    RETURNING job_id\n), ended",
    ),
    "settle, and forget who waits": Mistake(
        settlement,
        "settle",
        "UNION ALL SELECT job_id FROM into_dead\n), awaited",
        "\n), awaited",
    ),
    "put one job too many under a lease": Mistake(
        claims,
        "claim",
        "(row_number() OVER () - 1) / $5",
        "row_number() OVER () / ($5 + 1)",
    ),
    "give to who asked last": Mistake(
        claims,
        "claim_work",
        "ORDER BY place))::int",
        "ORDER BY place DESC))::int",
    ),
    "give a worker what has expired": Mistake(
        claims,
        "claim_work",
        "\n     WHERE NOT expired\n), into_finished",
        "\n), into_finished",
    ),
    "let a job expire, and forget who waits": Mistake(
        claims,
        "claim_work",
        "WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_finished))",
        "WHERE false",
    ),
    "recover what ran out since Postgres stood still": Mistake(
        leases,
        "recover",
        "least(now(), $3)",
        "greatest(now(), $3)",
    ),
    "keep what another worker has": Mistake(
        leases,
        "renew_work",
        "\n               AND leased.owner = asked.owner",
        "",
    ),
    "keep what has run out": Mistake(
        leases,
        "renew_work",
        "\n               AND leased.deadline > now()",
        "",
    ),
    "recover from a worker a moment early": Mistake(
        leases,
        "recover_work",
        "deadline < now()",
        "deadline <= now()",
    ),
    "forget to charge a worker's retry": Mistake(
        leases,
        "recover_work",
        "attempt, retry_count + 1, crash_count",
        "attempt, retry_count, crash_count",
    ),
    "charge a worker one retry too many": Mistake(
        leases,
        "recover_work",
        ">= body.max_retries",
        "> body.max_retries",
    ),
    "count what a worker gave back": Mistake(
        leases,
        "release_work",
        "job_id, attempt - 1, retry_count",
        "job_id, attempt, retry_count",
    ),
    "let an absent worker keep its jobs": Mistake(
        leases,
        "expire_leases_of",
        "SET deadline = now()",
        "SET deadline = deadline",
    ),
    "cancel without a word": Mistake(
        interventions,
        "cancel",
        "FROM taken\n    RETURNING job_id\n), released",
        "FROM taken WHERE place = 'ready'\n    RETURNING job_id\n), released",
    ),
    "cancel, and forget who waits": Mistake(
        interventions,
        "cancel",
        "parent_id = ANY (ARRAY(SELECT job_id FROM into_finished))",
        "false",
    ),
    "expire, and forget who waits": Mistake(
        timers,
        "expire",
        "parent_id = ANY (ARRAY(SELECT job_id FROM into_finished))",
        "false",
    ),
    "purge, and keep what it waited for": Mistake(
        interventions,
        "purge",
        "DELETE FROM dependencies WHERE",
        "DELETE FROM dependencies WHERE false AND",
    ),
    "reprioritize nothing": Mistake(
        interventions,
        "reprioritize",
        "SELECT lane_id, $3, ready_at",
        "SELECT lane_id, rank, ready_at",
    ),
    "lose one's turn for another priority": Mistake(
        interventions,
        "reprioritize",
        "SELECT lane_id, $3, ready_at",
        "SELECT lane_id, $3, now()",
    ),
    "reprioritize anybody's job": Mistake(
        interventions,
        "reprioritize",
        " AND organization_id = $1",
        " AND $1::uuid IS NOT NULL",
    ),
    "run a child beside its parent": Mistake(
        jobs,
        "create",
        "AND NOT waits\n       AND line_key IS NULL\n), into_scheduled",
        "AND line_key IS NULL\n), into_scheduled",
    ),
    "forget to look at a new child": Mistake(
        jobs,
        "create",
        "SELECT id, true\n      FROM admitted\n     WHERE parent_id IS NOT NULL",
        "SELECT id, true\n      FROM admitted\n     WHERE false",
    ),
    "close a circle": Mistake(
        dependencies,
        "depend",
        "asked.parent_id NOT IN (SELECT job_id FROM descendants)",
        "asked.parent_id <> $1",
    ),
    "block who has begun": Mistake(
        dependencies,
        "depend",
        "ready.job_id = $1 AND attempt = 0 AND count.open",
        "ready.job_id = $1 AND count.open",
    ),
    "miscount the parents": Mistake(
        dependencies,
        "depend",
        "SET edges = edges + count.fresh",
        "SET edges = edges",
    ),
    "add an edge, and do not look": Mistake(
        dependencies,
        "depend",
        "SELECT job_id, true FROM waits",
        "SELECT job_id, true FROM waits WHERE false",
    ),
    "let go before one's time": Mistake(
        None,
        "move_waiting",
        "coalesce(run_at > now(), false) AS later",
        "false AS later",
    ),
    "let go who has no hope": Mistake(
        None,
        "move_waiting",
        "WHERE NOT met)",
        "WHERE false)",
    ),
    "cancel a child, and forget who waits for it": Mistake(
        None,
        "let_go",
        "WHERE parent_id = ANY (ended)",
        "WHERE false",
    ),
    "believe that one of several parents is enough": Mistake(
        None,
        "hopes_of",
        "bool_and(edge.good) FILTER (WHERE mode = 'all')",
        "bool_or(edge.good) FILTER (WHERE mode = 'all')",
    ),
    "wait for the others though one is lost": Mistake(
        None,
        "still_waits",
        "OR kind = 'success'",
        "OR false",
    ),
    "let go before it is written who has ended": Mistake(
        settlement,
        "settle",
        "SELECT job_id FROM into_finished UNION ALL SELECT job_id FROM into_dead",
        "SELECT job_id FROM closed WHERE transition IN ('completed', 'deadlettered')",
    ),
    "look twice at what was seen": Mistake(
        dependencies,
        "release",
        "(SELECT address FROM due)",
        "'{}'::tid[]",
    ),
    **{title: Mistake(*mistake) for title, mistake in {**IN_TURNS, **AT_REST}.items()},
}
FLOW_MISTAKES = {title: Mistake(*mistake) for title, mistake in IN_FLOWS.items()}
