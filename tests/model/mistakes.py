"""Small mistakes in statements; the model test must fail with any of them."""

from types import ModuleType
from typing import NamedTuple

from libs.common.store import claims, interventions, jobs, leases, settlement, timers


class Mistake(NamedTuple):
    """*right* stands once in a statement, and *wrong* takes its place."""

    module: ModuleType
    statement: str
    right: str
    wrong: str

    def made(self) -> str:
        """Return the statement with the mistake in it."""
        statement: str = self.module.SQL[self.statement]
        assert statement.count(self.right) == 1, "the statement changed: so must this"
        return statement.replace(self.right, self.wrong)


MISTAKES = {
    "settle without the right lease": Mistake(
        settlement, "settle", "\n               AND leased.lease_id = told.lease_id", ""
    ),
    "settle, and stay leased": Mistake(
        settlement, "settle", "(SELECT address FROM closed)", "'{}'::tid[]"
    ),
    "settle twice what is told twice": Mistake(
        settlement, "settle", "DISTINCT ON (job_id, lease_id)", ""
    ),
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
    "do not tell of a settlement": Mistake(
        settlement,
        "settle",
        "FROM closed\n)\nSELECT",
        "FROM closed\n WHERE transition <> 'expired'\n)\nSELECT",
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
    "put one job too many under a lease": Mistake(
        claims,
        "claim",
        "(row_number() OVER () - 1) / $4",
        "row_number() OVER () / ($4 + 1)",
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
    "recover a worker's job as a webhook": Mistake(
        leases, "recover", "\n       AND push = $1", ""
    ),
    "quarantine one crash late": Mistake(leases, "recover", ">= $3", "> $3"),
    "count a batch that was lost as a crash": Mistake(
        leases,
        "recover",
        "THEN attempt - 1 ELSE attempt END",
        "THEN attempt ELSE attempt END",
    ),
    "recover without a retry": Mistake(
        leases,
        "recover",
        "THEN retry_count ELSE retry_count + 1 END",
        "THEN retry_count ELSE retry_count END",
    ),
    "recover what ran out since Postgres stood still": Mistake(
        leases, "recover", "least(now(), $4)", "greatest(now(), $4)"
    ),
    "believe that nobody has a batch": Mistake(
        leases, "note_taken_up", "SET taken_up = true", "SET taken_up = false"
    ),
    "take a worker for one who has yet to hear": Mistake(
        claims, "claim", "NOT $6,", "false,"
    ),
    "let a renewal shorten a lease": Mistake(
        leases,
        "renew",
        "greatest(deadline, now() + $2::interval)",
        "now() + $2::interval",
    ),
    "be gracious to workers": Mistake(
        leases, "grant_grace", "WHERE push\n       AND", "WHERE"
    ),
    "promote what is not due": Mistake(
        timers, "promote_due", "WHERE run_at <= now()", "WHERE run_at <= now() + '5 s'"
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
    "cancel without a word": Mistake(
        interventions,
        "cancel",
        "FROM taken\n)\nSELECT",
        "FROM taken WHERE job_id IN (SELECT job_id FROM from_ready)\n)\nSELECT",
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
        interventions, "purge", "WHERE attempts.job_id = buried.job_id", "WHERE false"
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
}
