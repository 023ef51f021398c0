-- name: claim_due
-- Schedules that are due, for whoever fires them in this transaction; with what their
-- queue and their organization's plan decide.
-- $1 limit int
WITH chosen AS MATERIALIZED (
    SELECT *
      FROM schedules
     WHERE NOT paused
       AND next_at IS NOT NULL
       AND next_at <= now()
     ORDER BY next_at, id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
)
SELECT chosen.*, now() AS asked_at,
       organizations.plan_tier, organizations.custom_limits,
       organizations.erased_at IS NOT NULL AS erased,
       queue.max_retries AS queue_max_retries,
       queue.default_timeout AS queue_timeout_seconds,
       chosen.overlap <> 'allow' AND is_open(chosen.last_job_id) AS busy
  FROM chosen
  JOIN organizations ON organizations.id = chosen.organization_id
  LEFT JOIN LATERAL (
        SELECT max_retries, default_timeout
          FROM queues
         WHERE queues.organization_id = chosen.organization_id
           AND queues.name = chosen.queue_name
         LIMIT 1
       ) AS queue ON true
 ORDER BY chosen.next_at, chosen.id;

-- name: claim_queued
-- Schedules of which a tick waited for the run before to be over, and it is.
-- $1 limit int
WITH chosen AS MATERIALIZED (
    SELECT *
      FROM schedules
     WHERE queued_tick IS NOT NULL
       AND NOT paused
       AND NOT is_open(last_job_id)
     ORDER BY id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
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
       ) AS queue ON true
 ORDER BY chosen.id;

-- name: next_due
-- In how many seconds the next schedule is due, null for none; how many are due by then,
-- or by now, up to a limit; and whether a tick waits for a run to be over.
-- $1 limit int
WITH first AS MATERIALIZED (
    SELECT next_at
      FROM schedules
     WHERE NOT paused
       AND next_at IS NOT NULL
     ORDER BY next_at
     LIMIT 1
)
SELECT (SELECT extract(epoch FROM next_at - now())::double precision FROM first)
           AS seconds,
       (SELECT count(*)
          FROM (SELECT
                  FROM schedules
                 WHERE NOT paused
                   AND next_at IS NOT NULL
                   AND next_at <= (SELECT greatest(next_at, now()) FROM first)
                 LIMIT $1) AS due)::int AS schedules,
       EXISTS (SELECT FROM schedules WHERE queued_tick IS NOT NULL) AS queued;

-- name: find_alive
-- Those of these endpoints that there are, of these organizations, and whether what goes
-- there goes in order.
-- $1 organization_ids uuid[], $2 endpoint_ids uuid[]
SELECT endpoint.*
  FROM unnest($1::uuid[], $2::uuid[]) AS asked (organization_id, id)
 CROSS JOIN LATERAL (
        SELECT id, ordered
          FROM endpoints
         WHERE endpoints.id = asked.id
           AND endpoints.organization_id = asked.organization_id
           AND deleted_at IS NULL
         LIMIT 1
       ) AS endpoint;

-- name: record
-- What became of ticks, or of schedules that were triggered by hand: a row each; a tick
-- that had no job may get one.  It is told of (`notices`), as triggered or as skipped.
-- Who has a job is returned: its schedule wants to be counted on.  Rows of ticks that
-- have their job already stay as they are.
-- Arrays, one element a run: $1 ids uuid, $2 schedule_ids uuid, $3 ticks timestamptz, $4
-- sources text, $5 job_ids uuid, $6 missed int, $7 error messages text
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[],
                  $6::int[], $7::text[])
           AS asked (id, schedule_id, tick, source, job_id, missed, error_message)
), written AS (
    INSERT INTO schedule_runs AS run (id, schedule_id, tick, source, job_id, missed,
                                      error_message)
    SELECT id, schedule_id, tick, source, job_id, missed, error_message
      FROM asked
     ORDER BY schedule_id, tick
        ON CONFLICT (schedule_id, tick) DO UPDATE
       SET job_id = excluded.job_id, error_message = NULL, at = excluded.at,
           source = excluded.source
     WHERE run.job_id IS NULL
       AND excluded.job_id IS NOT NULL
    RETURNING schedule_id, job_id, source, tick, missed, error_message
), looked_at AS (
    SELECT written.*, schedules.organization_id, schedules.queue_name
      FROM written
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name
              FROM schedules
             WHERE schedules.id = written.schedule_id
             LIMIT 1
           ) AS schedules
), noticed AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'schedule.triggered',
           json_build_object('schedule_id', schedule_id, 'job_id', job_id,
                             'queue_name', queue_name, 'source', source)
      FROM looked_at
     WHERE job_id IS NOT NULL
     UNION ALL
    SELECT organization_id, 'schedule.skipped',
           json_build_object('schedule_id', schedule_id, 'queue_name', queue_name,
                             'source', source, 'tick', tick, 'missed', missed,
                             'reason', error_message)
      FROM looked_at
     WHERE job_id IS NULL
)
SELECT schedule_id, job_id FROM looked_at WHERE job_id IS NOT NULL;

-- name: count_on
-- How often a schedule has fired, and what its latest job is.
-- $1 id uuid, $2 runs int (more), $3 latest job uuid or null
UPDATE schedules
   SET run_count = run_count + $2, last_run_at = now(),
       last_job_id = coalesce($3, last_job_id)
 WHERE id = $1;

-- name: move_on
-- What comes next, from what came next before, and what was fired; returned are the
-- schedules that stood there, and how late it is.
-- Arrays, one element a schedule: $1 ids uuid, $2 ticks so far timestamptz, $3 next ticks
-- timestamptz, $4 next at timestamptz, $5 queued ticks timestamptz, $6 runs int (more),
-- $7 latest jobs uuid; $8 edition text
-- No join: the planner, which may have met the table while it was empty, would read all
-- of the one for each row of the other.
UPDATE schedules
   SET (next_tick, next_at, queued_tick, run_count, last_run_at, last_job_id,
        zones_edition) = (
        SELECT ($3::timestamptz[])[place], ($4::timestamptz[])[place],
               ($5::timestamptz[])[place], run_count + ($6::int[])[place],
               CASE WHEN ($6::int[])[place] > 0 THEN now() ELSE last_run_at END,
               coalesce(($7::uuid[])[place], last_job_id), $8
          FROM array_position($1::uuid[], id) AS place)
 WHERE id = ANY ($1::uuid[])
   AND next_tick IS NOT DISTINCT FROM ($2::timestamptz[])[array_position($1, id)]
RETURNING id, clock_timestamp() AS moved_at;

-- name: forget_runs
-- What schedules did is forgotten when it is older than $1; the rows of ticks to come
-- are not touched, and no tick comes twice.
-- $1 age interval, $2 limit int
DELETE FROM schedule_runs
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM schedule_runs
         WHERE id < first_id_at(now() - $1::interval)
         ORDER BY id
         LIMIT $2
           FOR UPDATE SKIP LOCKED));
