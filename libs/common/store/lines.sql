-- name: is_noted
-- Whether there is any line to look at.
SELECT EXISTS (SELECT FROM line_checks);

-- name: look
-- Lines that somebody joined or left, by what was noted, the oldest first: those that
-- nobody else is looking at.  Nobody else looks at them until the transaction ends.
-- $1 limit int
SELECT id, scope, key
  FROM (SELECT id, scope, key FROM line_checks ORDER BY id OFFSET 0) AS noted
 WHERE pg_try_advisory_xact_lock(hashtextextended('line ' || scope || ' ' || key, 0))
 LIMIT $1;

-- name: call
-- held → ready, or scheduled if it is for later (unblocked): in each of these lines, whose
-- turn it is, first come first served, while fewer are called than may be at once.  What
-- was noted of them is dealt with.  The lines must be locked (see `look`).
-- Returned is one row: how many were called, and the lanes of push and of workers' jobs
-- that became ready.
-- $1 scopes text[], $2 keys text[], one element a line; $3 ids of what was noted bigint[]
WITH struck AS (
    DELETE FROM line_checks WHERE id = ANY ($3::bigint[])
), looked AS MATERIALIZED (
    SELECT line.scope, line.key,
           width_of(line.scope) - (SELECT count(*)
                                     FROM lines
                                    WHERE lines.scope = line.scope
                                      AND lines.key = line.key
                                      AND called) AS room
      FROM unnest($1::text[], $2::text[]) AS line (scope, key)
), next AS MATERIALIZED (
    SELECT first.job_id
      FROM looked
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM lines
             WHERE lines.scope = looked.scope
               AND lines.key = looked.key
               AND NOT called
             ORDER BY position
             LIMIT greatest(looked.room, 0)
           ) AS first
), mine AS MATERIALIZED (
    -- In the order of ids, as everybody takes them.  Who ended meanwhile, or has to wait
    -- for other jobs, is not here any more, and left a note of its own.
    SELECT locked.job_id
      FROM (SELECT job_id FROM next ORDER BY job_id OFFSET 0) AS next
     CROSS JOIN LATERAL (
            SELECT job_id FROM held WHERE held.job_id = next.job_id LIMIT 1 FOR UPDATE
           ) AS locked
), called AS (
    UPDATE lines SET called = true WHERE job_id = ANY (ARRAY(SELECT job_id FROM mine))
), freed AS (
    -- No join: see `claim`.
    DELETE FROM held
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM mine))
    RETURNING held.*, coalesce(run_at > now(), false) AS later
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt, retry_count, crash_count
      FROM freed
     WHERE NOT later
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt, retry_count, crash_count)
    SELECT run_at, job_id, lane_id, rank, attempt, retry_count, crash_count
      FROM freed
     WHERE later
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'unblocked', rank, attempt,
           CASE WHEN later THEN json_build_object('run_at', run_at) END
      FROM freed
), rung AS (
    SELECT lanes.id, lanes.push
      FROM (SELECT DISTINCT lane_id FROM freed WHERE NOT later) AS filled
     CROSS JOIN LATERAL (
            SELECT * FROM lanes WHERE lanes.id = filled.lane_id LIMIT 1
           ) AS lanes
)
SELECT (SELECT count(*) FROM freed)::int                     AS called,
       ARRAY(SELECT id FROM rung WHERE push ORDER BY id)     AS push_lanes,
       ARRAY(SELECT id FROM rung WHERE NOT push ORDER BY id) AS work_lanes;

-- name: recheck
-- Note every line of a queue that somebody waits in: more may be called at once now.
-- $1 organization_id uuid, $2 queue_name text
INSERT INTO line_checks (scope, key)
SELECT DISTINCT scope, key
  FROM lines
 WHERE scope = scope_of($1, $2)
   AND NOT called;

-- name: read_turn
-- How a job stands in its line: whether it is called, how many come before it (up to
-- 10 000 are counted), how many may be called at once, and who is.
-- $1 job_id uuid
SELECT mine.scope, mine.key, mine.called, width_of(mine.scope) AS width,
       (SELECT count(*)
          FROM (SELECT
                  FROM lines
                 WHERE lines.scope = mine.scope
                   AND lines.key = mine.key
                   AND NOT lines.called
                   AND lines.position < mine.position
                   AND NOT mine.called
                 LIMIT 10000) AS sooner)::int AS before,
       ARRAY(SELECT job_id
               FROM lines
              WHERE lines.scope = mine.scope
                AND lines.key = mine.key
                AND lines.called
              ORDER BY lines.position
              LIMIT 100) AS holders
  FROM lines AS mine
 WHERE mine.job_id = $1;
