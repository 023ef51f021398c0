-- name: give_back
-- leased → ready: whoever works on these lanes' jobs does so in vain from now on.  The
-- attempts did not happen.
-- $1 lanes int[], $2 limit int
WITH in_work AS MATERIALIZED (
    SELECT ctid AS address
      FROM leased
     WHERE lane_id = ANY ($1::int[])
     ORDER BY job_id
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), freed AS (
    -- No join: see `claim`.
    DELETE FROM leased
     WHERE ctid = ANY (ARRAY(SELECT address FROM in_work))
    RETURNING leased.*
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt - 1, retry_count, crash_count
      FROM freed
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'released', rank, attempt, owner
      FROM freed
)
SELECT job_id FROM freed;

-- name: cancel_lanes
-- ready, scheduled, waiting, held → finished: up to so many jobs of each place, because
-- their queue or their endpoint is deleted.  Returned is how many, and what came of it for
-- whoever waited for any of them (JSON; null: nobody did).
-- $1 lanes int[], $2 limit int, $3 actor text, $4 reason text or null
WITH asked AS MATERIALIZED (
    SELECT DISTINCT unnest($1::int[]) AS lane_id
), in_ready AS MATERIALIZED (
    SELECT there.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM ready
             WHERE ready.lane_id = asked.lane_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS there
     LIMIT $2
), from_ready AS (
    DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT address FROM in_ready))
    RETURNING job_id, 'ready' AS place, lane_id, rank, attempt, retry_count
), in_scheduled AS MATERIALIZED (
    SELECT there.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM scheduled
             WHERE scheduled.lane_id = asked.lane_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS there
     LIMIT $2
), from_scheduled AS (
    DELETE FROM scheduled WHERE ctid = ANY (ARRAY(SELECT address FROM in_scheduled))
    RETURNING job_id, 'scheduled' AS place, lane_id, rank, attempt, retry_count
), in_waiting AS MATERIALIZED (
    SELECT there.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM waiting
             WHERE waiting.lane_id = asked.lane_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS there
     LIMIT $2
), from_waiting AS (
    DELETE FROM waiting WHERE ctid = ANY (ARRAY(SELECT address FROM in_waiting))
    RETURNING job_id, 'waiting', lane_id, rank, 0::smallint, 0::smallint
), in_held AS MATERIALIZED (
    SELECT there.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM held
             WHERE held.lane_id = asked.lane_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS there
     LIMIT $2
), from_held AS (
    DELETE FROM held WHERE ctid = ANY (ARRAY(SELECT address FROM in_held))
    RETURNING job_id, 'held' AS place, lane_id, rank, attempt, retry_count
), taken AS (
    SELECT * FROM from_ready
    UNION ALL SELECT * FROM from_scheduled
    UNION ALL SELECT * FROM from_waiting
    UNION ALL SELECT * FROM from_held
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'cancelled'
      FROM taken
    RETURNING job_id
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'cancelled', rank, attempt, $3,
           json_strip_nulls(json_build_object(
               'place', place, 'retry_count', retry_count, 'reason', $4::text))
      FROM taken
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT job_id FROM into_finished), false)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_finished)))
       AND (SELECT count(*) FROM noted) > 0
)
SELECT (SELECT count(*) FROM taken)::int AS cancelled,
       (SELECT told FROM released)       AS released;

-- name: retire
-- The queue is no more, if nothing stands in it: its configuration is deleted, and its
-- lanes leave the lists until the next job comes.  Returned is whether it was so.
-- $1 organization_id uuid, $2 name text
WITH mine AS MATERIALIZED (
    SELECT id, has_jobs(id) AS used
      FROM lanes
     WHERE organization_id = $1
       AND queue_name = $2
     ORDER BY id
       FOR UPDATE
), verdict AS MATERIALIZED (
    SELECT NOT EXISTS (SELECT FROM mine WHERE used) AS empty
), retired AS (
    UPDATE lanes
       SET retired = true
      FROM verdict
     WHERE lanes.id = ANY (ARRAY(SELECT id FROM mine))
       AND verdict.empty
), forgotten AS (
    DELETE FROM queues
     USING verdict
     WHERE queues.organization_id = $1
       AND queues.name = $2
       AND verdict.empty
)
SELECT empty FROM verdict;

-- name: lanes_of_queue
-- All lanes of a queue.
-- $1 organization_id uuid, $2 name text
SELECT id FROM lanes WHERE organization_id = $1 AND queue_name = $2 ORDER BY id;
