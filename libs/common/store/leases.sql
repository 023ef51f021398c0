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
-- After an outage nobody could renew: no push lease runs out before $1 from now.
-- $1 grace interval
WITH kept AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE push
       AND deadline < now() + $1::interval
     ORDER BY id
       FOR UPDATE
)
UPDATE leases
   SET deadline = now() + $1::interval
 WHERE id = ANY (ARRAY(SELECT id FROM kept))
RETURNING id;

-- name: recover
-- leased → ready: the owner let the lease run out, so its process is taken for dead.
-- A push job's attempt is recorded as lost and does not count against the receiver; a
-- job whose process died so under it $3 times goes to the dead (promise 5).  A lease
-- that no process ever took up lost its batch on the way: nobody died under it.
-- A worker's job is charged a retry (contract 4.1).  Leases that ran out after $4 wait:
-- nobody could renew them while Postgres itself stood still.
-- $1 push boolean, $2 limit int (leases), $3 crashes max int, $4 as of timestamptz
-- Returned are the jobs, in rows that all say how many leases there were; one row
-- without a job when those had none left.
WITH run_out AS MATERIALIZED (
    SELECT id
      FROM leases
     WHERE deadline < least(now(), $4)
       AND push = $1
     ORDER BY deadline, id
     LIMIT $2
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
    SELECT freed.job_id, freed.lease_id, lane_id, rank, owner, claimed_at, never_taken_up,
           freed.attempt, freed.retry_count,
           crash_count + CASE WHEN never_taken_up THEN 0 ELSE 1 END AS crash_count,
           CASE WHEN $1 THEN crash_count + CASE WHEN never_taken_up THEN 0 ELSE 1 END >= $3
                ELSE freed.retry_count >= body.max_retries END AS hopeless
      FROM freed
      JOIN dropped ON dropped.id = freed.lease_id
     CROSS JOIN LATERAL (
            SELECT max_retries FROM jobs WHERE jobs.id = freed.job_id LIMIT 1
           ) AS body
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms, error)
    SELECT job_id, attempt, 'lost', owner, claimed_at,
           extract(epoch FROM now() - claimed_at) * 1000,
           CASE WHEN $1 THEN 'the process that made the attempt died'
                ELSE 'Lease expired (worker timeout)' END
      FROM judged
     WHERE NOT never_taken_up
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id,
           CASE WHEN never_taken_up THEN attempt - 1 ELSE attempt END,
           CASE WHEN $1 THEN retry_count ELSE retry_count + 1 END, crash_count
      FROM judged
     WHERE NOT hopeless
), into_dead AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error,
                      started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count,
           CASE WHEN $1 THEN 'quarantined' ELSE 'attempts_exhausted' END::death,
           CASE WHEN $1 THEN 'quarantined: the process that made the attempt died '
                             || crash_count || ' times'
                ELSE 'Max retries exceeded after lease expiration' END,
           claimed_at
      FROM judged
     WHERE hopeless
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id,
           CASE WHEN NOT hopeless THEN 'recovered'
                WHEN $1 THEN 'quarantined'
                ELSE 'deadlettered' END::transition,
           rank, attempt, owner,
           json_build_object('crash_count', crash_count, 'retry_count', retry_count,
                             'error', CASE WHEN never_taken_up
                                           THEN 'the batch was lost on its way'
                                           ELSE 'the lease ran out' END)
      FROM judged
)
SELECT struck.leases, job_id, lease_id, lane_id, hopeless
  FROM (SELECT count(*)::int AS leases FROM dropped) AS struck
  LEFT JOIN judged ON true;
