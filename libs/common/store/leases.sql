-- name: renew
-- Keep leases alive: they run out $2 from now at the earliest.
-- $1 lease_ids uuid[], in order; $2 lease interval
WITH kept AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE id = ANY ($1::uuid[])
     ORDER BY id
       FOR UPDATE
)
UPDATE leases
   SET deadline = greatest(deadline, now() + $2::interval)
 WHERE id = ANY (ARRAY(SELECT id FROM kept))
RETURNING id;

-- name: note_taken_up
-- A process said that it has these batches.
-- $1 lease_ids uuid[], in order
WITH named AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE id = ANY ($1::uuid[])
       AND NOT taken_up
     ORDER BY id
       FOR UPDATE
)
UPDATE leases
   SET taken_up = true
 WHERE id = ANY (ARRAY(SELECT id FROM named));

-- name: read_clock
-- What time it is for Postgres.
SELECT clock_timestamp();

-- name: grant_grace
-- After an outage nobody could renew: no batch's lease runs out before $1 from now.
-- $1 grace interval
WITH kept AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE deadline < now() + $1::interval
     ORDER BY id
       FOR UPDATE
)
UPDATE leases
   SET deadline = now() + $1::interval
 WHERE id = ANY (ARRAY(SELECT id FROM kept))
RETURNING id;

-- name: recover
-- leased → ready: the owner let the lease run out, so its process is taken for dead.
-- The attempt is recorded as lost and does not count against the receiver; a job whose
-- process died so under it $2 times goes to the dead (promise 5).  A lease that no
-- process ever took up lost its batch on the way: nobody died under it.  Leases that ran
-- out after $3 wait: nobody could renew them while Postgres itself stood still.  So do
-- those that a living process holds, as the caller heard.
-- $1 limit int (leases), $2 crashes max int, $3 as of timestamptz, $4 lease_ids uuid[]
-- that are held
-- Returned are the jobs, in rows that all say how many leases there were; one row
-- without a job when those had none left.
WITH run_out AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE deadline < least(now(), $3)
       AND NOT id = ANY ($4::uuid[])
     ORDER BY deadline, id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM leases
     WHERE id = ANY (ARRAY(SELECT id FROM run_out))
    RETURNING id, owner, claimed_at, job_ids, NOT taken_up AS never_taken_up
), freed AS (
    -- No join: see `claim`.  A job that these leases list is either under one of them
    -- still, or under another that lives.
    DELETE FROM leased
     WHERE job_id = ANY (ARRAY(SELECT unnest(job_ids) FROM dropped))
       AND lease_id = ANY (ARRAY(SELECT id FROM dropped))
    RETURNING leased.*
), judged AS MATERIALIZED (
    SELECT freed.job_id, freed.lease_id, lane_id, rank, dropped.owner,
           dropped.claimed_at, never_taken_up, freed.attempt, freed.retry_count,
           crash_count + CASE WHEN never_taken_up THEN 0 ELSE 1 END AS crash_count,
           crash_count + CASE WHEN never_taken_up THEN 0 ELSE 1 END >= $2 AS hopeless
      FROM freed
      JOIN dropped ON dropped.id = freed.lease_id
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms, error,
                          endpoint_id)
    SELECT job_id, attempt, 'lost', owner, claimed_at,
           extract(epoch FROM now() - claimed_at) * 1000,
           'the process that made the attempt died',
           (SELECT endpoint_id FROM lanes WHERE lanes.id = judged.lane_id)
      FROM judged
     WHERE NOT never_taken_up
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id,
           CASE WHEN never_taken_up THEN attempt - 1 ELSE attempt END,
           retry_count, crash_count
      FROM judged
     WHERE NOT hopeless
), into_dead AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error,
                      started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'quarantined',
           'quarantined: the process that made the attempt died '
           || crash_count || ' times',
           claimed_at
      FROM judged
     WHERE hopeless
    RETURNING job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id,
           CASE WHEN hopeless THEN 'quarantined' ELSE 'recovered' END::transition,
           rank, attempt, owner,
           json_build_object('crash_count', crash_count, 'retry_count', retry_count,
                             'error', CASE WHEN never_taken_up
                                           THEN 'the batch was lost on its way'
                                           ELSE 'the lease ran out' END)
      FROM judged
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT job_id FROM into_dead), true)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_dead)))
       AND (SELECT count(*) FROM noted) > 0
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM judged WHERE hopeless))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
)
SELECT struck.leases, job_id, lease_id, lane_id, hopeless,
       (SELECT told FROM released) AS released
  FROM (SELECT count(*)::int AS leases FROM dropped) AS struck
  LEFT JOIN judged ON true;

-- name: renew_work
-- Workers keep their jobs: each lease ends its own time from now, sooner or later than
-- it did (contract 4.2).  Fenced as `settle` is.  Returned are the new deadlines of
-- those that were live, by their place among those asked for.
-- Arrays, one element a job, in the order of job ids: $1 job_ids uuid, $2 lease_ids uuid
-- (null: whichever the owner has), $3 owners text, $4 organization_ids uuid, $5 queues
-- text (JSON array; null: every queue), $6 leases interval
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[],
                  $6::interval[]) WITH ORDINALITY
           AS asked (job_id, lease_id, owner, organization_id, queues, lease, number)
), kept AS MATERIALIZED (
    SELECT asked.number, asked.job_id, now() + asked.lease AS deadline
      FROM asked
     CROSS JOIN LATERAL (
            SELECT
              FROM leased
             WHERE leased.job_id = asked.job_id
               AND coalesce(leased.lease_id = asked.lease_id, true)
               AND leased.owner = asked.owner
               AND leased.deadline > now()
               AND (SELECT lanes.organization_id = asked.organization_id
                           AND (asked.queues IS NULL
                                OR asked.queues::jsonb ? lanes.queue_name)
                      FROM lanes
                     WHERE lanes.id = leased.lane_id)
             LIMIT 1
               FOR UPDATE
           ) AS mine
), longest AS MATERIALIZED (
    -- Asked for twice at once, the longer one holds.
    SELECT jsonb_object_agg(job_id, deadline) AS by_job
      FROM (SELECT job_id, max(deadline) AS deadline
              FROM kept
             GROUP BY job_id) AS each
), renewed AS (
    -- No join: see `claim`.
    UPDATE leased
       SET deadline = ((SELECT by_job FROM longest) ->> job_id::text)::timestamptz
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM kept))
)
SELECT number - 1 AS index, deadline FROM kept;

-- name: recover_work
-- leased → ready, or dead: the worker let its lease run out, or is offline.  A retry is
-- charged; a job that has none left is dead (contract 4.1).
-- $1 limit int
WITH run_out AS MATERIALIZED (
    SELECT job_id
      FROM leased
     WHERE deadline < now()
     ORDER BY deadline
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), freed AS (
    -- No join: see `claim`.
    DELETE FROM leased
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM run_out))
    RETURNING leased.*
), judged AS MATERIALIZED (
    SELECT freed.*, freed.retry_count >= body.max_retries AS hopeless,
           CASE WHEN worker.offline THEN 'Worker went offline'
                ELSE 'Lease expired (worker timeout)' END AS lost,
           CASE WHEN worker.offline THEN 'Max retries exceeded after worker went offline'
                ELSE 'Max retries exceeded after lease expiration' END AS died
      FROM freed
     CROSS JOIN LATERAL (
            SELECT organization_id, max_retries
              FROM jobs
             WHERE jobs.id = freed.job_id
             LIMIT 1
           ) AS body
      LEFT JOIN LATERAL (
            SELECT status = 'offline' AS offline
              FROM workers
             WHERE workers.id = freed.owner
               AND workers.organization_id = body.organization_id
             LIMIT 1
           ) AS worker ON true
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms, error)
    SELECT job_id, attempt, 'lost', owner, claimed_at,
           extract(epoch FROM now() - claimed_at) * 1000, lost
      FROM judged
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt, retry_count + 1, crash_count
      FROM judged
     WHERE NOT hopeless
), into_dead AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error,
                      started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'attempts_exhausted',
           died, claimed_at
      FROM judged
     WHERE hopeless
    RETURNING job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id,
           CASE WHEN hopeless THEN 'deadlettered' ELSE 'recovered' END::transition,
           rank, attempt, owner,
           CASE WHEN hopeless
                THEN json_build_object(
                    'retry_count', retry_count, 'reason', 'attempts_exhausted',
                    'error', died)
                ELSE json_build_object('retry_count', retry_count + 1, 'error', lost)
           END
      FROM judged
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT job_id FROM into_dead), true)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_dead)))
       AND (SELECT count(*) FROM noted) > 0
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM judged WHERE hopeless))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
)
SELECT job_id, lease_id, lane_id, hopeless, (SELECT told FROM released) AS released
  FROM judged;

-- name: release_work
-- leased → ready: a worker gives back what it holds.  The attempts did not happen.
-- $1 organization_id uuid, $2 owner text, $3 limit int, $4 queue names text[] that may
-- be touched, null for all
WITH found AS MATERIALIZED (
    SELECT held.job_id
      FROM lanes
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM leased
             WHERE leased.lane_id = lanes.id
               AND leased.owner = $2
            OFFSET 0
           ) AS held
     WHERE lanes.organization_id = $1
       AND lanes.destination = ''
       AND ($4::text[] IS NULL OR lanes.queue_name = ANY ($4))
     ORDER BY held.job_id
     LIMIT $3
), mine AS MATERIALIZED (
    -- In the order of ids, as everybody takes them.
    SELECT locked.job_id
      FROM found
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM leased
             WHERE leased.job_id = found.job_id
               AND leased.owner = $2
               AND leased.deadline > now()
             LIMIT 1
               FOR UPDATE
           ) AS locked
), freed AS (
    -- No join: see `claim`.
    DELETE FROM leased
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM mine))
    RETURNING leased.*
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt - 1, retry_count, crash_count
      FROM freed
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'released', rank, attempt, owner FROM freed
)
SELECT job_id, lease_id, lane_id, false AS hopeless FROM freed;

-- name: expire_leases_of
-- Workers went away: what they hold runs out now.
-- $1 organization_ids uuid[], $2 owners text[], one element a worker
WITH found AS MATERIALIZED (
    SELECT held.job_id, gone.owner
      FROM unnest($1::uuid[], $2::text[]) AS gone (organization_id, owner)
     CROSS JOIN LATERAL (
            SELECT id
              FROM lanes
             WHERE lanes.organization_id = gone.organization_id
               AND lanes.destination = ''
            OFFSET 0
           ) AS lane
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM leased
             WHERE leased.lane_id = lane.id
               AND leased.owner = gone.owner
            OFFSET 0
           ) AS held
     ORDER BY held.job_id
), theirs AS MATERIALIZED (
    SELECT locked.job_id
      FROM found
     CROSS JOIN LATERAL (
            SELECT job_id
              FROM leased
             WHERE leased.job_id = found.job_id
               AND leased.owner = found.owner
               AND leased.deadline > now()
             LIMIT 1
               FOR UPDATE
           ) AS locked
)
UPDATE leased
   SET deadline = now()
 WHERE job_id = ANY (ARRAY(SELECT job_id FROM theirs))
RETURNING job_id;

-- name: find_live
-- Which of these jobs are still in the hands of the worker that claimed them.
-- $1 job_ids uuid[], $2 lease_ids uuid[], one element a job
SELECT asked.job_id, asked.lease_id
  FROM unnest($1::uuid[], $2::uuid[]) AS asked (job_id, lease_id)
 CROSS JOIN LATERAL (
        SELECT
          FROM leased
         WHERE leased.job_id = asked.job_id
           AND leased.lease_id = asked.lease_id
           AND leased.deadline > now()
         LIMIT 1
       ) AS live;
