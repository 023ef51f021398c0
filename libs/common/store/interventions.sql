-- name: cancel
-- ready, scheduled, waiting, held → finished, by hand.
-- Nothing is returned when the job stands elsewhere, else what came of it for whoever
-- waited for it (JSON; null: nobody did).
-- $1 organization_id uuid, $2 job_id uuid, $3 actor text
WITH owned AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = $2 AND organization_id = $1
), from_ready AS (
    DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT id FROM owned))
    RETURNING job_id, 'ready' AS place, lane_id, rank, attempt, retry_count
), from_scheduled AS (
    DELETE FROM scheduled WHERE job_id = ANY (ARRAY(SELECT id FROM owned))
    RETURNING job_id, 'scheduled' AS place, lane_id, rank, attempt, retry_count
), from_waiting AS (
    DELETE FROM waiting WHERE job_id = ANY (ARRAY(SELECT id FROM owned))
    RETURNING job_id, 'waiting', lane_id, rank, 0::smallint, 0::smallint
), from_held AS (
    DELETE FROM held WHERE job_id = ANY (ARRAY(SELECT id FROM owned))
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
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'cancelled', rank, attempt, $3,
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
SELECT job_id, (SELECT told FROM released) AS released FROM taken;

-- name: cancel_in_work
-- leased → finished: whoever works on it does so in vain from now on.  The attempt is
-- recorded as lost.  Returned is the lane that it makes room in, and what came of it for
-- whoever waited for it (JSON; null: nobody did), or nothing when the job stands
-- elsewhere.
-- $1 organization_id uuid, $2 job_id uuid, $3 actor text
WITH owned AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = $2 AND organization_id = $1
), taken AS (
    DELETE FROM leased USING owned WHERE leased.job_id = owned.id
    RETURNING leased.*
), in_hands AS (
    SELECT taken.*, coalesce(taken.owner, leases.owner) AS holder,
           coalesce(taken.claimed_at, leases.claimed_at) AS began_at
      FROM taken
      LEFT JOIN leases ON leases.id = taken.lease_id
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms, error,
                          endpoint_id)
    SELECT job_id, attempt, 'lost', holder, began_at,
           extract(epoch FROM now() - began_at) * 1000,
           'the job was cancelled meanwhile',
           (SELECT endpoint_id FROM lanes WHERE lanes.id = in_hands.lane_id)
      FROM in_hands
     WHERE began_at IS NOT NULL
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending, started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'cancelled', began_at
      FROM in_hands
    RETURNING job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'cancelled', rank, attempt, $3,
           json_build_object('place', 'leased', 'retry_count', retry_count)
      FROM in_hands
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
SELECT lane_id, (SELECT told FROM released) AS released FROM taken;

-- name: reprioritize
-- ready, scheduled, waiting, held → the same place, by hand: with another rank.
-- $1 organization_id uuid, $2 job_id uuid, $3 rank smallint, $4 actor text
WITH owned AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = $2 AND organization_id = $1
), from_ready AS (
    -- The rank is part of the key: out, and in again.
    DELETE FROM ready USING owned WHERE ready.job_id = owned.id
    RETURNING ready.*
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, $3, ready_at, job_id, attempt, retry_count, crash_count
      FROM from_ready
), before AS MATERIALIZED (
    SELECT job_id, rank FROM scheduled JOIN owned ON job_id = id
    UNION ALL SELECT job_id, rank FROM waiting JOIN owned ON job_id = id
    UNION ALL SELECT job_id, rank FROM held JOIN owned ON job_id = id
), in_scheduled AS (
    UPDATE scheduled SET rank = $3 FROM before WHERE scheduled.job_id = before.job_id
    RETURNING scheduled.job_id, 'scheduled' AS place, lane_id, before.rank, attempt
), in_waiting AS (
    UPDATE waiting SET rank = $3 FROM before WHERE waiting.job_id = before.job_id
    RETURNING waiting.job_id, 'waiting', lane_id, before.rank, 0::smallint
), in_held AS (
    UPDATE held SET rank = $3 FROM before WHERE held.job_id = before.job_id
    RETURNING held.job_id, 'held', lane_id, before.rank, attempt
), changed AS (
    SELECT job_id, 'ready' AS place, lane_id, rank, attempt FROM from_ready
    UNION ALL SELECT * FROM in_scheduled
    UNION ALL SELECT * FROM in_waiting
    UNION ALL SELECT * FROM in_held
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'reprioritized', $3, attempt, $4,
           json_build_object('place', place, 'old_priority', 100 - rank,
                             'new_priority', 100 - $3::int)
      FROM changed
)
SELECT 100 - rank AS old_priority FROM changed;

-- name: requeue
-- dead → ready, by hand, or held if it has a line: retries and crashes start from zero,
-- attempts count on.  Push jobs stand in line with those that are tried again.
-- $1 organization_id uuid, $2 job_ids uuid[], in order; $3 actor text, $4 queue names
-- text[] or null for all
WITH chosen AS MATERIALIZED (
    SELECT letter.job_id
      FROM unnest($2::uuid[]) AS asked (job_id)
     CROSS JOIN LATERAL (
            SELECT
              FROM jobs
             WHERE jobs.id = asked.job_id
               AND jobs.organization_id = $1
               AND ($4::text[] IS NULL OR jobs.queue_name = ANY ($4))
             LIMIT 1
           ) AS body
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM dead
             WHERE dead.job_id = asked.job_id
             LIMIT 1
               FOR UPDATE SKIP LOCKED
           ) AS letter
), raised AS (
    -- No join: see `claim`.
    DELETE FROM dead
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM chosen))
    RETURNING job_id, coalesce((SELECT retry_lane_id FROM lanes
                                 WHERE lanes.id = dead.lane_id), lane_id) AS lane_id,
              rank, attempt
), placed AS MATERIALIZED (
    SELECT raised.*, body.line_scope, body.line_key, body.workflow_id
      FROM raised
     CROSS JOIN LATERAL (
            SELECT line_scope, line_key, workflow_id
              FROM jobs
             WHERE jobs.id = raised.job_id
             LIMIT 1
           ) AS body
), resumed AS MATERIALIZED (
    SELECT theirs.id, theirs.state
      FROM (SELECT DISTINCT workflow_id
              FROM placed
             WHERE workflow_id IS NOT NULL
             ORDER BY workflow_id) AS mine
     CROSS JOIN LATERAL (
            SELECT id, state FROM workflows WHERE workflows.id = mine.workflow_id
             LIMIT 1 FOR NO KEY UPDATE
           ) AS theirs
), resuming AS (
    -- Their workflows run on, unless they were cancelled.
    UPDATE workflows
       SET state = 'running', finished_at = NULL
     WHERE id = ANY (ARRAY(SELECT id FROM resumed WHERE state = 'failed'))
    RETURNING id, organization_id, name, total_jobs
), told AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'workflow.retried',
           json_build_object('workflow_id', id, 'name', name, 'status', 'running',
                             'total_jobs', total_jobs)
      FROM resuming
), forgiven AS (
    -- What else has failed there before is no reason to cancel what runs now.
    UPDATE workflow_jobs
       SET forgiven = job_id <> ALL (ARRAY(SELECT job_id FROM placed))
     WHERE workflow_id = ANY (ARRAY(SELECT id FROM resumed))
       AND (forgiven
            OR coalesce(
                   (SELECT true FROM dead
                     WHERE dead.job_id = workflow_jobs.job_id LIMIT 1),
                   (SELECT ending = 'expired' FROM finished
                     WHERE finished.job_id = workflow_jobs.job_id LIMIT 1)))
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt)
    SELECT lane_id, rank, now(), job_id, attempt
      FROM placed
     WHERE line_key IS NULL
), into_held AS (
    INSERT INTO held (job_id, lane_id, rank, reason, attempt)
    SELECT job_id, lane_id, rank, 'its turn has not come', attempt
      FROM placed
     WHERE line_key IS NOT NULL
), into_lines AS (
    -- Others had their turns meanwhile: it comes after those who wait now.
    INSERT INTO lines (job_id, scope, key)
    SELECT job_id, line_scope, line_key
      FROM placed
     WHERE line_key IS NOT NULL
     ORDER BY job_id
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM into_lines
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'requeued', rank, attempt, $3
      FROM placed
)
SELECT placed.job_id, placed.lane_id, lane.push, placed.line_key IS NOT NULL AS in_line
  FROM placed
 CROSS JOIN LATERAL (
        SELECT push FROM lanes WHERE lanes.id = placed.lane_id LIMIT 1
       ) AS lane;

-- name: choose_dead
-- The oldest dead letters of an organization, for whoever wants to do something about
-- them.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 died before
-- timestamptz or null, $4 limit int
SELECT standing.job_id
  FROM open_jobs($1, $2::text[], '{dead}') AS standing
 WHERE $3::timestamptz IS NULL
    OR (SELECT died_at FROM dead WHERE dead.job_id = standing.job_id LIMIT 1) < $3
 ORDER BY standing.job_id
 LIMIT $4;

-- name: group_dead
-- The newest dead letters of an organization by what they died of, the most first; of an
-- error the beginning tells them apart.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 letters int, $4
-- groups int
WITH newest AS MATERIALIZED (
    SELECT job_id
      FROM open_jobs($1, $2::text[], '{dead}') AS standing
     ORDER BY job_id DESC
     LIMIT $3
)
SELECT lanes.queue_name, letter.reason::text AS reason,
       left(letter.last_error, 200) AS error, count(*) AS letters,
       min(letter.died_at) AS first_at, max(letter.died_at) AS last_at,
       (SELECT count(*) FROM newest) AS examined
  FROM newest
 CROSS JOIN LATERAL (
        SELECT * FROM dead WHERE dead.job_id = newest.job_id LIMIT 1
       ) AS letter
  JOIN lanes ON lanes.id = letter.lane_id
 GROUP BY 1, 2, 3
 ORDER BY letters DESC, last_at DESC
 LIMIT $4;

-- name: purge
-- dead → nowhere, by hand: the letters, their bodies, attempts and keys are deleted.
-- The journal keeps that they were.  Returned is how many, and what came of it for
-- whoever waited for any of them (JSON; null: nobody did).
-- $1 organization_id uuid, $2 job_ids uuid[], in order; $3 actor text
WITH chosen AS MATERIALIZED (
    SELECT letter.job_id
      FROM unnest($2::uuid[]) AS asked (job_id)
     CROSS JOIN LATERAL (
            SELECT
              FROM jobs
             WHERE jobs.id = asked.job_id
               AND jobs.organization_id = $1
             LIMIT 1
           ) AS body
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM dead
             WHERE dead.job_id = asked.job_id
             LIMIT 1
               FOR UPDATE SKIP LOCKED
           ) AS letter
), buried AS (
    -- No join: see `claim`.
    DELETE FROM dead
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM chosen))
    RETURNING dead.*
), bodies AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(SELECT job_id FROM buried))
    RETURNING id, organization_id, idempotency_key
), completions AS (
    DELETE FROM completion_webhooks WHERE job_id = ANY (ARRAY(SELECT job_id FROM buried))
), answers AS (
    DELETE FROM attempts WHERE job_id = ANY (ARRAY(SELECT job_id FROM buried))
), keys AS (
    DELETE FROM idempotency
     USING bodies
     WHERE idempotency.organization_id = bodies.organization_id
       AND idempotency.key = bodies.idempotency_key
), own_edges AS (
    DELETE FROM dependencies WHERE child_id = ANY (ARRAY(SELECT job_id FROM buried))
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'purged', rank, attempt, $3
      FROM buried
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT id FROM bodies), true)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT id FROM bodies)))
       AND (SELECT count(*) FROM noted) > 0
)
SELECT (SELECT count(*) FROM buried)::int AS purged,
       (SELECT told FROM released)        AS released;
