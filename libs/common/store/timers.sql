-- name: promote_due
-- scheduled → ready: what is due, longest due first; returns the lanes it went to, whether
-- their jobs are pushed, and how late the latest of them comes (seconds).  What was due
-- before $2 is passed over (see `next_due`).
-- $1 limit int, $2 since timestamptz
WITH due AS MATERIALIZED (
    SELECT ctid AS address
      FROM scheduled
     WHERE run_at BETWEEN $2 AND now()
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
SELECT filled.lane_id, filled.jobs, lane.push, filled.late_seconds
  FROM (SELECT lane_id, count(*)::int AS jobs,
               extract(epoch FROM now() - min(run_at))::double precision AS late_seconds
          FROM taken
         GROUP BY lane_id) AS filled
 CROSS JOIN LATERAL (
        SELECT push FROM lanes WHERE lanes.id = filled.lane_id LIMIT 1
       ) AS lane;

-- name: next_due
-- In how many seconds the next scheduled job is due, null for none, and where the living
-- begin: before that are only those that are gone, who for as long as somebody's view is
-- older are walked over each time, and who commits later than $2.
-- $1 since timestamptz (before it nobody is looked for), $2 interval
SELECT extract(epoch FROM first.run_at - now())::double precision AS seconds,
       least(first.run_at, now() - $2::interval) AS front
  FROM (SELECT min(run_at) AS run_at FROM scheduled WHERE run_at >= $1) AS first;

-- name: expire
-- ready, scheduled, waiting, held → finished: open jobs whose time to run has passed.
-- A job that somebody works on is left to finish; the row waits for it.  Returned is one
-- row: the jobs, how many moments are dealt with, those of ended jobs among them, and
-- what came of it for whoever waited for any of them (JSON; null: nobody did).
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
), in_waiting AS MATERIALIZED (
    -- In the order of ids, as everybody takes them who waits.
    SELECT mine.job_id
      FROM (SELECT DISTINCT job_id FROM passed ORDER BY job_id OFFSET 0) AS asked
     CROSS JOIN LATERAL (
            SELECT job_id FROM waiting WHERE waiting.job_id = asked.job_id
             LIMIT 1 FOR UPDATE
           ) AS mine
), from_waiting AS (
    DELETE FROM waiting WHERE job_id = ANY (ARRAY(SELECT job_id FROM in_waiting))
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
    RETURNING job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'expired', rank, attempt,
           json_build_object('place', place, 'retry_count', retry_count)
      FROM taken
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT job_id FROM into_finished), false)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_finished)))
       AND (SELECT count(*) FROM noted) > 0
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
)
SELECT ARRAY(SELECT job_id FROM taken)      AS job_ids,
       (SELECT count(*) FROM struck)::int AS moments,
       (SELECT told FROM released)         AS released;
