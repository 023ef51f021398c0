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
-- Look at who was noted: jobs that may need not wait any more, and workflows that may be
-- over, or of which somebody must cancel what is left (`workflows.sweep`).
-- Returned is one row: how many were looked at, and what came of it (JSON).
-- $1 limit int
WITH due AS MATERIALIZED (
    SELECT ctid AS address, child_id, repeatedly
      FROM rechecks
     WHERE at <= now()
     ORDER BY at, id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), struck AS (
    DELETE FROM rechecks WHERE ctid = ANY (ARRAY(SELECT address FROM due))
), released AS MATERIALIZED (
    SELECT look_again(ARRAY(SELECT child_id FROM due),
                      ARRAY(SELECT DISTINCT child_id FROM due WHERE repeatedly))::text
           AS told
     WHERE EXISTS (SELECT FROM due)
)
SELECT (SELECT count(*) FROM due)::int AS looks,
       (SELECT told FROM released)     AS released;

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
