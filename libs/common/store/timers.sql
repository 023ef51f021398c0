-- name: promote_due
-- scheduled → ready: what is due, longest due first; returns the lanes it went to, and
-- whether their jobs are pushed.
-- $1 limit int
WITH due AS MATERIALIZED (
    SELECT ctid AS address
      FROM scheduled
     WHERE run_at <= now()
     ORDER BY run_at, job_id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), taken AS (
    -- No join: see `claim`.
    DELETE FROM scheduled
     WHERE ctid = ANY (ARRAY(SELECT address FROM due))
    RETURNING scheduled.*
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt, retry_count, crash_count
      FROM taken
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'due', rank, attempt,
           json_build_object('retry_count', retry_count)
      FROM taken
)
SELECT filled.lane_id, filled.jobs, lane.push
  FROM (SELECT lane_id, count(*)::int AS jobs FROM taken GROUP BY lane_id) AS filled
 CROSS JOIN LATERAL (
        SELECT push FROM lanes WHERE lanes.id = filled.lane_id LIMIT 1
       ) AS lane;

-- name: next_due
-- In how many seconds the next scheduled job is due, null for none.
SELECT extract(epoch FROM run_at - now())::double precision
  FROM scheduled
 ORDER BY run_at
 LIMIT 1;

-- name: expire
-- ready, scheduled, waiting, held → finished: open jobs whose time to run has passed.
-- A job that somebody works on is left to finish; the row waits for it.  Returned is one
-- row: the jobs, and how many moments are dealt with, those of ended jobs among them.
-- $1 limit int
WITH passed AS MATERIALIZED (
    SELECT ctid AS address, job_id
      FROM expiries
     WHERE expires_at <= now()
       AND (SELECT true FROM leased WHERE leased.job_id = expiries.job_id LIMIT 1) IS NULL
     ORDER BY expires_at, job_id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), from_ready AS (
    DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM passed))
    RETURNING job_id, 'ready' AS place, lane_id, rank, attempt, retry_count
), from_scheduled AS (
    DELETE FROM scheduled WHERE job_id = ANY (ARRAY(SELECT job_id FROM passed))
    RETURNING job_id, 'scheduled' AS place, lane_id, rank, attempt, retry_count
), from_waiting AS (
    DELETE FROM waiting WHERE job_id = ANY (ARRAY(SELECT job_id FROM passed))
    RETURNING job_id, 'waiting', lane_id, rank, 0::smallint, 0::smallint
), from_held AS (
    DELETE FROM held WHERE job_id = ANY (ARRAY(SELECT job_id FROM passed))
    RETURNING job_id, 'held' AS place, lane_id, rank, attempt, retry_count
), taken AS (
    SELECT * FROM from_ready
    UNION ALL SELECT * FROM from_scheduled
    UNION ALL SELECT * FROM from_waiting
    UNION ALL SELECT * FROM from_held
), struck AS (
    -- A job that somebody else is moving right now keeps its row, and is met again.
    DELETE FROM expiries
     WHERE ctid = ANY (ARRAY(
            SELECT address
              FROM passed
             WHERE job_id IN (SELECT job_id FROM taken)
                OR (SELECT true FROM places
                     WHERE places.job_id = passed.job_id
                       AND place IN ('ready', 'scheduled', 'waiting', 'held')
                     LIMIT 1) IS NULL))
    RETURNING job_id
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'expired'
      FROM taken
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'expired', rank, attempt,
           json_build_object('place', place, 'retry_count', retry_count)
      FROM taken
), rechecked AS (
    INSERT INTO rechecks (child_id)
    SELECT DISTINCT child_id
      FROM dependencies
     WHERE parent_id = ANY (ARRAY(SELECT job_id FROM taken))
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
)
SELECT ARRAY(SELECT job_id FROM taken)      AS job_ids,
       (SELECT count(*) FROM struck)::int AS moments;
