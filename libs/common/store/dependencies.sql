-- name: lock_graph
-- Let nobody else add edges between an organization's jobs until the transaction ends:
-- two edges that are no cycle each may be one together.
-- $1 organization_id uuid
SELECT pg_advisory_xact_lock(hashtextextended('dependencies ' || $1::uuid::text, 0));

-- name: find_jobs
-- Which of these are jobs, whose, and in which queue.
-- $1 job_ids uuid[]
SELECT jobs.id, jobs.organization_id, jobs.queue_name
  FROM unnest($1::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = asked.id LIMIT 1) AS jobs;

-- name: depend
-- ready, scheduled, held → waiting (blocked), or waiting still: let a job that has not
-- begun wait for others.  It leaves its line: two could wait for each other otherwise.
-- Edges that are there, lead to the job itself or would close a circle are left out;
-- returned are the parents of those that were added.  When all of them have ended as they
-- should, the job stays where it is.  No row: the job is not such a job.  The graph must
-- be locked.
-- $1 job_id uuid, $2 parents uuid[], $3 dependency_mode, $4 actor text, $5
-- dependency_kind
WITH RECURSIVE descendants AS (
    SELECT $1::uuid AS job_id
    UNION
    SELECT dependencies.child_id
      FROM descendants
      JOIN dependencies ON dependencies.parent_id = descendants.job_id
), known AS MATERIALIZED (
    SELECT parent_id FROM dependencies WHERE child_id = $1
), fresh AS MATERIALIZED (
    SELECT DISTINCT asked.parent_id
      FROM unnest($2::uuid[]) AS asked (parent_id)
     WHERE asked.parent_id NOT IN (SELECT job_id FROM descendants)
       AND asked.parent_id NOT IN (SELECT parent_id FROM known)
), count AS MATERIALIZED (
    SELECT (SELECT count(*) FROM known)::int AS known,
           (SELECT count(*) FROM fresh)::int AS fresh,
           EXISTS (SELECT FROM fresh
                    WHERE NOT EXISTS (
                          SELECT
                            FROM places
                           WHERE places.job_id = fresh.parent_id
                             AND places.place IN ('finished', 'dead')
                             AND CASE $5::dependency_kind
                                 WHEN 'success'    THEN ending = 'completed'
                                 WHEN 'completion' THEN true
                                 -- Whether it was only not needed, the look knows.
                                 WHEN 'failure'    THEN false END)) AS open
), from_ready AS (
    DELETE FROM ready USING count
     WHERE ready.job_id = $1 AND attempt = 0 AND count.open
    RETURNING job_id, 'ready' AS place, lane_id, rank, NULL::timestamptz AS run_at
), from_scheduled AS (
    DELETE FROM scheduled USING count
     WHERE scheduled.job_id = $1 AND attempt = 0 AND count.open
    RETURNING job_id, 'scheduled' AS place, lane_id, rank, run_at
), from_held AS (
    DELETE FROM held USING count
     WHERE held.job_id = $1 AND attempt = 0 AND count.open
    RETURNING job_id, 'held' AS place, lane_id, rank, run_at
), taken AS (
    SELECT * FROM from_ready
    UNION ALL SELECT * FROM from_scheduled
    UNION ALL SELECT * FROM from_held
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
), into_waiting AS (
    INSERT INTO waiting (job_id, lane_id, rank, run_at, edges)
    SELECT job_id, lane_id, rank, run_at, known + fresh
      FROM taken CROSS JOIN count
), still_waiting AS (
    UPDATE waiting SET edges = edges + count.fresh FROM count
     WHERE waiting.job_id = $1
    RETURNING waiting.job_id
), waits AS MATERIALIZED (
    SELECT job_id FROM taken UNION ALL SELECT job_id FROM still_waiting
), stands AS MATERIALIZED (
    SELECT job_id FROM waits
    UNION
    SELECT job_id FROM places CROSS JOIN count
     WHERE job_id = $1 AND place IN ('ready', 'scheduled', 'held') AND attempt = 0
       AND NOT count.open
), edges AS (
    INSERT INTO dependencies (child_id, parent_id, mode, kind)
    SELECT stands.job_id, fresh.parent_id, $3, $5
      FROM stands CROSS JOIN fresh
), rechecked AS (
    INSERT INTO rechecks (child_id, repeatedly) SELECT job_id, true FROM waits
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'blocked', rank, 0, $4,
           json_build_object('place', place, 'retry_count', 0)
      FROM taken
)
SELECT ARRAY(SELECT parent_id FROM fresh ORDER BY parent_id) AS added FROM stands;

-- name: release
-- waiting → ready, scheduled, held (unblocked) or finished (cancelled): look again at
-- children whose parents ended.  Those that have a line join it.  Those that are cancelled
-- have children, too: look again then.
-- Workflows wait for their jobs, too, as their children: they are looked at elsewhere
-- (`workflows.look`).
-- Returned is one row: how many were looked at, unblocked and cancelled, how many joined
-- a line, and the lanes of push and of workers' jobs that became ready.
-- $1 limit int
WITH due AS MATERIALIZED (
    SELECT ctid AS address, child_id, repeatedly
      FROM rechecks
     WHERE at <= now()
       AND NOT EXISTS (SELECT FROM workflows WHERE workflows.id = rechecks.child_id)
     ORDER BY at, id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), struck AS (
    DELETE FROM rechecks WHERE ctid = ANY (ARRAY(SELECT address FROM due))
), looked AS MATERIALIZED (
    SELECT children.*, hopes.*
      FROM (SELECT child_id, bool_or(repeatedly) AS repeatedly
              FROM due GROUP BY child_id ORDER BY child_id) AS children
     CROSS JOIN LATERAL hopes_of(children.child_id) AS hopes
), decided AS MATERIALIZED (
    -- Whoever adds an edge changes this row: a look that did not see it decides nothing.
    SELECT mine.job_id, looked.met, looked.pointless
      FROM looked
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM waiting
             WHERE waiting.job_id = looked.child_id
               AND waiting.edges = looked.edges
             LIMIT 1
               FOR UPDATE
           ) AS mine
     WHERE looked.met OR looked.hopeless
), unblocked AS (
    DELETE FROM waiting
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE met))
    RETURNING job_id, lane_id, rank, run_at, coalesce(run_at > now(), false) AS later
), hopeless AS (
    DELETE FROM waiting
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE NOT met))
    RETURNING job_id, lane_id, rank
), skipped AS (
    UPDATE workflow_jobs
       SET skipped = true
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE NOT met AND pointless))
), placed AS MATERIALIZED (
    -- It has attempts already if its workflow was retried.
    SELECT unblocked.*, body.line_scope, body.line_key,
           coalesce((SELECT max(attempts.attempt)
                       FROM attempts
                      WHERE attempts.job_id = unblocked.job_id), 0)::smallint AS attempt
      FROM unblocked
     CROSS JOIN LATERAL (
            SELECT line_scope, line_key FROM jobs WHERE jobs.id = unblocked.job_id LIMIT 1
           ) AS body
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt)
    SELECT lane_id, rank, now(), job_id, attempt
      FROM placed
     WHERE NOT later
       AND line_key IS NULL
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt)
    SELECT run_at, job_id, lane_id, rank, attempt
      FROM placed
     WHERE later
       AND line_key IS NULL
), into_held AS (
    INSERT INTO held (job_id, lane_id, rank, reason, run_at, attempt)
    SELECT job_id, lane_id, rank, 'its turn has not come',
           CASE WHEN later THEN run_at END, attempt
      FROM placed
     WHERE line_key IS NOT NULL
), into_lines AS (
    INSERT INTO lines (job_id, scope, key)
    SELECT job_id, line_scope, line_key
      FROM placed
     WHERE line_key IS NOT NULL
     ORDER BY job_id
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM into_lines
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, lane_id, rank, 0, 0, 'cancelled' FROM hopeless
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'unblocked'::transition, rank, attempt,
           CASE WHEN later THEN json_build_object('run_at', run_at) END
      FROM placed
    UNION ALL
    SELECT job_id, lane_id, 'cancelled', rank, 0,
           json_build_object('place', 'waiting', 'retry_count', 0, 'reason',
               CASE WHEN (SELECT pointless FROM decided
                           WHERE decided.job_id = hopeless.job_id)
                    THEN 'not_needed' ELSE 'parent_failed' END)
      FROM hopeless
), rechecked AS (
    INSERT INTO rechecks (child_id)
    SELECT DISTINCT child_id
      FROM dependencies
     WHERE parent_id = ANY (ARRAY(SELECT job_id FROM hopeless))
), repeated AS (
    -- Twice as long after the edge each time: a statement lives half a minute at most.
    INSERT INTO rechecks (at, child_id, repeatedly)
    SELECT now() + greatest(interval '2 seconds', now() - youngest), child_id, true
      FROM looked
     CROSS JOIN LATERAL (
            SELECT FROM waiting WHERE waiting.job_id = looked.child_id LIMIT 1
           ) AS still
     WHERE repeatedly
       AND NOT met
       AND NOT hopeless
       AND youngest > now() - interval '1 minute'
), rung AS (
    SELECT lanes.id, lanes.push
      FROM (SELECT DISTINCT lane_id
              FROM placed
             WHERE NOT later
               AND line_key IS NULL) AS ready
     CROSS JOIN LATERAL (SELECT * FROM lanes WHERE lanes.id = lane_id LIMIT 1) AS lanes
)
SELECT (SELECT count(*) FROM due)::int                      AS looks,
       (SELECT count(*) FROM unblocked)::int                AS unblocked,
       (SELECT count(*) FROM hopeless)::int                 AS cancelled,
       (SELECT count(*) FROM into_lines)::int               AS joined,
       ARRAY(SELECT id FROM rung WHERE push ORDER BY id)     AS push_lanes,
       ARRAY(SELECT id FROM rung WHERE NOT push ORDER BY id) AS work_lanes;

-- name: parents_of
-- What a job waits for, or waited for; jobs that are no more are left out.
-- $1 job_id uuid, $2 queue names text[] or null for all
SELECT jobs.id, jobs.queue_name, dependencies.mode::text AS mode,
       dependencies.kind::text AS kind,
       status_of(standing.place, standing.ending, standing.retry_count) AS status
  FROM dependencies
  JOIN jobs ON jobs.id = dependencies.parent_id
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
 WHERE dependencies.child_id = $1
   AND ($2::text[] IS NULL OR jobs.queue_name = ANY ($2))
 ORDER BY jobs.id;

-- name: children_of
-- The jobs that wait for a job, or waited for it: the first so many.
-- $1 job_id uuid, $2 queue names text[] or null for all, $3 limit int
SELECT jobs.id, jobs.queue_name, dependencies.mode::text AS mode,
       dependencies.kind::text AS kind,
       status_of(standing.place, standing.ending, standing.retry_count) AS status
  FROM dependencies
  JOIN jobs ON jobs.id = dependencies.child_id
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
 WHERE dependencies.parent_id = $1
   AND ($2::text[] IS NULL OR jobs.queue_name = ANY ($2))
 ORDER BY jobs.id
 LIMIT $3;
