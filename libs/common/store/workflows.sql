-- name: count_open
-- How many workflows of an organization are not over.
-- $1 organization_id uuid
SELECT count(*)::int
  FROM workflows
 WHERE organization_id = $1
   AND state IN ('pending', 'running');

-- name: create_workflow
-- A workflow; its jobs and their edges come in the same transaction.  No row: another has
-- its idempotency key; who creates that one at this moment is waited for.
-- $1 id uuid, $2 organization_id uuid, $3 name text, $4 description text, $5 metadata
-- text (JSON), $6 policy text, $7 queue names text[], $8 how many jobs int, $9
-- idempotency key text, $10 fingerprint bytea
INSERT INTO workflows (id, organization_id, name, description, metadata, policy,
                       queue_names, total_jobs, idempotency_key, fingerprint)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9, $10)
    ON CONFLICT (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL
    DO NOTHING
RETURNING id;

-- name: find_by_key
-- The workflow that has an idempotency key.
-- $1 organization_id uuid, $2 key text
SELECT id, fingerprint
  FROM workflows
 WHERE organization_id = $1
   AND idempotency_key = $2;

-- name: add_jobs
-- What a workflow consists of.  It waits for each of its jobs as a child does: whatever
-- ends one of them notes the workflow, too.
-- $1 workflow_id uuid, $2 keys text[], $3 job_ids uuid[], one element a job
WITH added AS (
    INSERT INTO workflow_jobs (workflow_id, key, job_id)
    SELECT $1, key, job_id
      FROM unnest($2::text[], $3::uuid[]) AS added (key, job_id)
    RETURNING job_id
)
INSERT INTO dependencies (child_id, parent_id, kind)
SELECT $1, job_id, 'completion' FROM added;

-- name: add_edges
-- What jobs wait for that are created in this transaction, so that nobody has looked.
-- Arrays, one element an edge: $1 children uuid, $2 parents uuid, $3 modes
-- dependency_mode, $4 kinds dependency_kind
INSERT INTO dependencies (child_id, parent_id, mode, kind)
SELECT *
  FROM unnest($1::uuid[], $2::uuid[], $3::dependency_mode[], $4::dependency_kind[]);

-- name: sweep
-- ready, scheduled, waiting, held → finished: cancel the jobs of workflows that were
-- cancelled, or that fail at once and have failed, on which nobody works.  Who was moved
-- meanwhile is left out: do it again until nobody is chosen.
-- $1 workflow_ids uuid[], $2 actor text
WITH chosen AS MATERIALIZED (
    SELECT idle.job_id,
           CASE WHEN workflow.state = 'cancelled' THEN 'workflow_cancelled'
                ELSE 'workflow_failed' END AS reason
      FROM unnest($1::uuid[]) AS asked (id)
     CROSS JOIN LATERAL (
            SELECT id, state
              FROM workflows
             WHERE workflows.id = asked.id
               AND (state = 'cancelled'
                    OR state IN ('pending', 'running')
                       AND policy = 'fail_fast' AND has_failed_jobs(id))
             LIMIT 1
           ) AS workflow
     CROSS JOIN LATERAL idle_jobs(workflow.id, workflow.state = 'cancelled') AS idle
     ORDER BY idle.job_id
), from_ready AS (
    DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM chosen))
    RETURNING job_id, 'ready' AS place, lane_id, rank, attempt, retry_count
), from_scheduled AS (
    DELETE FROM scheduled WHERE job_id = ANY (ARRAY(SELECT job_id FROM chosen))
    RETURNING job_id, 'scheduled' AS place, lane_id, rank, attempt, retry_count
), in_waiting AS MATERIALIZED (
    -- In the order of ids, as everybody takes them who waits.
    SELECT mine.job_id
      FROM (SELECT DISTINCT job_id FROM chosen ORDER BY job_id OFFSET 0) AS asked
     CROSS JOIN LATERAL (
            SELECT job_id FROM waiting WHERE waiting.job_id = asked.job_id
             LIMIT 1 FOR UPDATE
           ) AS mine
), from_waiting AS (
    DELETE FROM waiting WHERE job_id = ANY (ARRAY(SELECT job_id FROM in_waiting))
    RETURNING job_id, 'waiting', lane_id, rank, 0::smallint, 0::smallint
), from_held AS (
    DELETE FROM held WHERE job_id = ANY (ARRAY(SELECT job_id FROM chosen))
    RETURNING job_id, 'held' AS place, lane_id, rank, attempt, retry_count
), taken AS MATERIALIZED (
    SELECT * FROM from_ready
    UNION ALL SELECT * FROM from_scheduled
    UNION ALL SELECT * FROM from_waiting
    UNION ALL SELECT * FROM from_held
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'cancelled'
      FROM taken
    RETURNING job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'cancelled', rank, attempt, $2,
           json_build_object('place', place, 'retry_count', retry_count, 'reason',
               (SELECT reason FROM chosen WHERE chosen.job_id = taken.job_id))
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
SELECT (SELECT count(*) FROM chosen)::int    AS chosen,
       (SELECT count(*) FROM taken)::int     AS cancelled,
       (SELECT count(*) FROM left_line)::int AS left_line,
       (SELECT told FROM released)           AS released;

-- name: stop
-- pending, running → cancelled, by hand; `sweep` cancels its jobs.  It is looked at, in
-- case that whoever is to do it dies.
-- $1 organization_id uuid, $2 id uuid
WITH stopped AS (
    UPDATE workflows
       SET state = 'cancelled', finished_at = now()
     WHERE id = $2
       AND organization_id = $1
       AND state IN ('pending', 'running')
    RETURNING id, organization_id, name, total_jobs
), told AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'workflow.cancelled',
           json_build_object('workflow_id', id, 'name', name, 'status', 'cancelled',
                             'total_jobs', total_jobs)
      FROM stopped
), rechecked AS (
    INSERT INTO rechecks (child_id) SELECT id FROM stopped
)
SELECT id FROM stopped;

-- name: lock_workflow
-- A workflow, which nobody else changes until the transaction ends.
-- $1 organization_id uuid, $2 id uuid
SELECT id, state, queue_names, total_jobs
  FROM workflows
 WHERE id = $2
   AND organization_id = $1
   FOR NO KEY UPDATE;

-- name: restart
-- failed → running, by hand: jobs that failed or were cancelled start over, dead,
-- finished → waiting if they wait for others, else ready, or held if they have a line.
-- Attempts count on, retries and crashes from zero.  The workflow must be locked.
-- Returned are the jobs, with their lanes and whether they are ready, or in a line.
-- $1 workflow_id uuid, $2 actor text
WITH letters AS MATERIALIZED (
    SELECT letter.job_id
      FROM (SELECT job_id FROM workflow_jobs
             WHERE workflow_id = $1 ORDER BY job_id OFFSET 0) AS mine
     CROSS JOIN LATERAL (
            SELECT job_id FROM dead WHERE dead.job_id = mine.job_id
             LIMIT 1 FOR UPDATE SKIP LOCKED
           ) AS letter
), raised AS (
    DELETE FROM dead
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM letters))
    RETURNING job_id, coalesce((SELECT retry_lane_id FROM lanes
                                 WHERE lanes.id = dead.lane_id), lane_id) AS lane_id,
              rank, 'dead' AS place, NULL AS ending
), ended AS MATERIALIZED (
    SELECT mine.job_id
      FROM (SELECT job_id FROM workflow_jobs
             WHERE workflow_id = $1 ORDER BY job_id OFFSET 0) AS mine
     CROSS JOIN LATERAL (
            SELECT FROM finished
             WHERE finished.job_id = mine.job_id
               AND ending <> 'completed'
             LIMIT 1
           ) AS ended
), revived AS (
    DELETE FROM finished
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM ended))
    RETURNING job_id, lane_id, rank, 'finished' AS place, ending::text AS ending
), taken AS MATERIALIZED (
    SELECT * FROM raised UNION ALL SELECT * FROM revived
), placed AS MATERIALIZED (
    SELECT taken.*, body.line_scope, body.line_key, family.edges, family.edges > 0 AS waits,
           coalesce((SELECT max(attempts.attempt)
                       FROM attempts
                      WHERE attempts.job_id = taken.job_id), 0)::smallint AS attempt
      FROM taken
     CROSS JOIN LATERAL (
            SELECT line_scope, line_key FROM jobs WHERE jobs.id = taken.job_id LIMIT 1
           ) AS body
     CROSS JOIN LATERAL (
            SELECT count(*)::int AS edges
              FROM dependencies
             WHERE child_id = taken.job_id
           ) AS family
), into_waiting AS (
    INSERT INTO waiting (job_id, lane_id, rank, edges)
    SELECT job_id, lane_id, rank, edges FROM placed WHERE waits
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt)
    SELECT lane_id, rank, now(), job_id, attempt
      FROM placed
     WHERE NOT waits
       AND line_key IS NULL
), into_held AS (
    INSERT INTO held (job_id, lane_id, rank, reason, attempt)
    SELECT job_id, lane_id, rank, 'its turn has not come', attempt
      FROM placed
     WHERE NOT waits
       AND line_key IS NOT NULL
), into_lines AS (
    INSERT INTO lines (job_id, scope, key)
    SELECT job_id, line_scope, line_key
      FROM placed
     WHERE NOT waits
       AND line_key IS NOT NULL
     ORDER BY job_id
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM into_lines
), unskipped AS (
    UPDATE workflow_jobs
       SET skipped = false, forgiven = false
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
), rechecked AS (
    INSERT INTO rechecks (child_id) SELECT job_id FROM placed WHERE waits
), resumed AS (
    UPDATE workflows
       SET state = 'running', finished_at = NULL
     WHERE id = $1
    RETURNING id, organization_id, name, total_jobs
), told AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'workflow.retried',
           json_build_object('workflow_id', id, 'name', name, 'status', 'running',
                             'total_jobs', total_jobs)
      FROM resumed
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'requeued', rank, attempt, $2,
           json_build_object('place', place, 'ending', ending)
      FROM placed
)
SELECT placed.job_id, placed.lane_id, lane.push,
       NOT waits AND line_key IS NULL AS is_ready,
       NOT waits AND line_key IS NOT NULL AS in_line
  FROM placed
 CROSS JOIN LATERAL (
        SELECT push FROM lanes WHERE lanes.id = placed.lane_id LIMIT 1
       ) AS lane;

-- name: hold_worker
-- A job of a workflow that a worker has in work, and cannot end until the transaction
-- does.
-- $1 workflow_id uuid, $2 worker text, $3 lease_id uuid or null for any of its
SELECT held.job_id
  FROM (SELECT job_id FROM workflow_jobs
         WHERE workflow_id = $1 ORDER BY job_id OFFSET 0) AS mine
 CROSS JOIN LATERAL (
        SELECT job_id
          FROM leased
         WHERE leased.job_id = mine.job_id
           AND leased.owner = $2
           AND leased.deadline > now()
           AND ($3::uuid IS NULL OR leased.lease_id = $3)
         LIMIT 1
           FOR SHARE
       ) AS held
 LIMIT 1;

-- name: keys_of
-- The jobs of a workflow by their keys.
-- $1 workflow_id uuid
SELECT key, job_id FROM workflow_jobs WHERE workflow_id = $1 ORDER BY job_id;

-- name: extend
-- A workflow has more jobs.  Those that wait for some that were there are looked at: they
-- may have ended, or be ending, before anybody can see the edge.
-- $1 id uuid, $2 how many more int, $3 queue names text[], $4 job_ids uuid[]
WITH rechecked AS (
    INSERT INTO rechecks (child_id, repeatedly)
    SELECT job_id, true FROM unnest($4::uuid[]) AS added (job_id)
)
UPDATE workflows
   SET total_jobs = total_jobs + $2,
       queue_names = ARRAY(SELECT DISTINCT name
                             FROM unnest(queue_names || $3::text[]) AS name
                            ORDER BY name)
 WHERE id = $1;

-- name: read_workflow
-- One workflow, with how far it has come.
-- $1 organization_id uuid, $2 id uuid
SELECT workflows.*,
       coalesce(live.completed, completed_jobs) AS completed,
       coalesce(live.failed, failed_jobs)       AS failed,
       coalesce(live.cancelled, cancelled_jobs) AS cancelled,
       coalesce(live.skipped, skipped_jobs)     AS skipped,
       coalesce(live.processing, 0)             AS processing,
       coalesce(live.pending, 0)                AS pending
  FROM workflows
  LEFT JOIN LATERAL (
        SELECT progress.*
          FROM progress_of(workflows.id) AS progress
         WHERE workflows.state NOT IN ('completed', 'failed')
       ) AS live ON true
 WHERE id = $2
   AND organization_id = $1;

-- name: list_workflows
-- Workflows, newest first, with how far they have come: the jobs of those that are over
-- are not counted again.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 state text or null,
-- $4 limit int, $5 offset int
SELECT workflows.*,
       coalesce(live.completed, completed_jobs) AS completed,
       coalesce(live.failed, failed_jobs)       AS failed,
       coalesce(live.cancelled, cancelled_jobs) AS cancelled,
       coalesce(live.skipped, skipped_jobs)     AS skipped,
       coalesce(live.processing, 0)             AS processing,
       coalesce(live.pending, 0)                AS pending
  FROM (SELECT *
          FROM workflows
         WHERE organization_id = $1
           AND ($2::text[] IS NULL OR queue_names <@ $2)
           AND ($3::text IS NULL OR state = $3)
         ORDER BY id DESC
         LIMIT $4 OFFSET $5) AS workflows
  LEFT JOIN LATERAL (
        SELECT progress.*
          FROM progress_of(workflows.id) AS progress
         WHERE workflows.state NOT IN ('completed', 'failed')
       ) AS live ON true
 ORDER BY id DESC;

-- name: jobs_of
-- The jobs of a workflow, in the order in which they came.
-- $1 workflow_id uuid
SELECT mine.key, mine.skipped, jobs.id, jobs.organization_id, jobs.queue_name,
       jobs.job_type, jobs.payload::text AS payload, jobs.tags::text AS tags,
       jobs.max_retries, jobs.timeout_seconds, jobs.created_at, jobs.workflow_id,
       standing.place, standing.rank, standing.attempt, standing.retry_count,
       coalesce(standing.run_at, jobs.scheduled_at) AS run_at,
       standing.started_at, standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       result_of(mine.job_id)::text AS result
  FROM (SELECT * FROM workflow_jobs WHERE workflow_id = $1 OFFSET 0) AS mine
 CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = mine.job_id LIMIT 1) AS jobs
 CROSS JOIN LATERAL (SELECT * FROM places WHERE places.job_id = mine.job_id LIMIT 1)
       AS standing
  LEFT JOIN LATERAL (
        SELECT attempts.error
          FROM attempts
         WHERE attempts.job_id = mine.job_id
           AND attempts.error IS NOT NULL
           AND standing.retry_count > 0
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS failed ON true
 ORDER BY jobs.id;

-- name: edges_of
-- What the jobs of a workflow wait for, or waited for.
-- $1 workflow_id uuid
SELECT edge.child_id, edge.parent_id, edge.mode::text AS mode, edge.kind::text AS kind
  FROM (SELECT * FROM workflow_jobs WHERE workflow_id = $1 OFFSET 0) AS mine
 CROSS JOIN LATERAL (
        SELECT * FROM dependencies WHERE child_id = mine.job_id OFFSET 0
       ) AS edge
 ORDER BY edge.child_id, edge.parent_id;
