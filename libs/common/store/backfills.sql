-- name: create_backfill
-- $1 id uuid, $2 schedule_id uuid, $3 since timestamptz, $4 until timestamptz, $5 total
-- int
INSERT INTO schedule_backfills (id, schedule_id, since, until, total)
VALUES ($1, $2, $3, $4, $5)
RETURNING *;

-- name: read_backfill
-- $1 schedule_id uuid, $2 id uuid
SELECT * FROM schedule_backfills WHERE id = $2 AND schedule_id = $1;

-- name: count_running
-- How many backfills of a schedule are under way.
-- $1 schedule_id uuid
SELECT count(*)::int
  FROM schedule_backfills
 WHERE schedule_id = $1
   AND state = 'running';

-- name: claim_running
-- A backfill that is under way, with its schedule, for whoever goes on with it in this
-- transaction.
WITH chosen AS MATERIALIZED (
    SELECT backfill.id AS backfill_id, backfill.since, backfill.until, backfill.reached,
           schedules.*
      FROM schedule_backfills AS backfill
     CROSS JOIN LATERAL (
            SELECT *
              FROM schedules
             WHERE schedules.id = backfill.schedule_id
             LIMIT 1
               FOR UPDATE SKIP LOCKED
           ) AS schedules
     WHERE backfill.state = 'running'
     ORDER BY backfill.id
     LIMIT 1
       FOR UPDATE OF backfill SKIP LOCKED
)
SELECT chosen.*, now() AS asked_at,
       organizations.plan_tier, organizations.custom_limits,
       organizations.erased_at IS NOT NULL AS erased,
       queue.max_retries AS queue_max_retries,
       queue.default_timeout AS queue_timeout_seconds, false AS busy
  FROM chosen
  JOIN organizations ON organizations.id = chosen.organization_id
  LEFT JOIN LATERAL (
        SELECT max_retries, default_timeout
          FROM queues
         WHERE queues.organization_id = chosen.organization_id
           AND queues.name = chosen.queue_name
         LIMIT 1
       ) AS queue ON true;

-- name: find_fired
-- Those of these ticks of a schedule that have their job.
-- $1 schedule_id uuid, $2 ticks timestamptz[]
SELECT run.tick
  FROM unnest($2::timestamptz[]) AS asked (tick)
 CROSS JOIN LATERAL (
        SELECT tick
          FROM schedule_runs
         WHERE schedule_runs.schedule_id = $1
           AND schedule_runs.tick = asked.tick
           AND job_id IS NOT NULL
         LIMIT 1
       ) AS run;

-- name: advance
-- How far a backfill came, and whether it is over.
-- $1 id uuid, $2 reached timestamptz, $3 created int (more), $4 skipped int (more), $5
-- state text, $6 error message text
UPDATE schedule_backfills
   SET reached = coalesce($2, reached), created = created + $3, skipped = skipped + $4,
       state = $5, error_message = $6,
       finished_at = CASE WHEN $5 <> 'running' THEN now() END
 WHERE id = $1;

-- name: forget_backfills
-- Backfills that are over and began longer ago than $1.
-- $1 age interval, $2 limit int
DELETE FROM schedule_backfills
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM schedule_backfills
         WHERE id < first_id_at(now() - $1::interval)
           AND state <> 'running'
         ORDER BY id
         LIMIT $2
           FOR UPDATE SKIP LOCKED));
