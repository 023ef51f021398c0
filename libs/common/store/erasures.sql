-- name: next_erasure
-- The organization that waits longest to be erased.
SELECT id FROM organizations WHERE erased_at IS NOT NULL ORDER BY erased_at LIMIT 1;

-- name: choose_jobs
-- The next jobs of an organization, wherever they stand.
-- $1 organization_id uuid, $2 after job_id uuid, $3 limit int
SELECT id
  FROM jobs
 WHERE organization_id = $1
   AND id > $2
 ORDER BY id
 LIMIT $3;

-- name: erase
-- Any place → nowhere: jobs with bodies, attempts, results, keys, edges and journal.
-- Whoever moves a job at this moment has it locked: it is left to the next time, and so
-- no job is ever half erased.  Nobody is waited for.
-- $1 organization_id uuid, $2 job_ids uuid[], in order
WITH named AS MATERIALIZED (
    SELECT asked.id
      FROM unnest($2::uuid[]) AS asked (id)
     CROSS JOIN LATERAL (
            SELECT FROM jobs
             WHERE jobs.id = asked.id
               AND jobs.organization_id = $1
             LIMIT 1
           ) AS body
), locked_ready AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM ready WHERE ready.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_scheduled AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM scheduled WHERE scheduled.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_leased AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM leased WHERE leased.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_waiting AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM waiting WHERE waiting.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_held AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM held WHERE held.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_dead AS MATERIALIZED (
    SELECT place.address
      FROM named
     CROSS JOIN LATERAL (
            SELECT ctid AS address FROM dead WHERE dead.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), locked_finished AS MATERIALIZED (
    SELECT place.job_id
      FROM named
     CROSS JOIN LATERAL (
            SELECT job_id FROM finished WHERE finished.job_id = named.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS place
), from_ready AS (
    DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT address FROM locked_ready))
    RETURNING job_id
), from_scheduled AS (
    DELETE FROM scheduled WHERE ctid = ANY (ARRAY(SELECT address FROM locked_scheduled))
    RETURNING job_id
), from_leased AS (
    DELETE FROM leased WHERE ctid = ANY (ARRAY(SELECT address FROM locked_leased))
    RETURNING job_id
), from_waiting AS (
    DELETE FROM waiting WHERE ctid = ANY (ARRAY(SELECT address FROM locked_waiting))
    RETURNING job_id
), from_held AS (
    DELETE FROM held WHERE ctid = ANY (ARRAY(SELECT address FROM locked_held))
    RETURNING job_id
), from_dead AS (
    DELETE FROM dead WHERE ctid = ANY (ARRAY(SELECT address FROM locked_dead))
    RETURNING job_id
), from_finished AS (
    DELETE FROM finished WHERE job_id = ANY (ARRAY(SELECT job_id FROM locked_finished))
    RETURNING job_id
), taken AS MATERIALIZED (
    SELECT job_id FROM from_ready
    UNION ALL SELECT job_id FROM from_scheduled
    UNION ALL SELECT job_id FROM from_leased
    UNION ALL SELECT job_id FROM from_waiting
    UNION ALL SELECT job_id FROM from_held
    UNION ALL SELECT job_id FROM from_dead
    UNION ALL SELECT job_id FROM from_finished
), bodies AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(SELECT job_id FROM taken))
    RETURNING id, organization_id, idempotency_key, expires_at
), keys AS (
    DELETE FROM idempotency
     USING bodies
     WHERE idempotency.organization_id = bodies.organization_id
       AND idempotency.key = bodies.idempotency_key
), locked_moments AS MATERIALIZED (
    SELECT moment.address
      FROM bodies
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM expiries
             WHERE expiries.expires_at = bodies.expires_at
               AND expiries.job_id = bodies.id
             LIMIT 1 FOR UPDATE SKIP LOCKED) AS moment
), moments AS (
    DELETE FROM expiries WHERE ctid = ANY (ARRAY(SELECT address FROM locked_moments))
), rechecked AS (
    -- Children are erased as well, and soon: only if that takes long somebody must see
    -- that they wait in vain.  Before that they are not to run.
    INSERT INTO rechecks (at, child_id)
    SELECT now() + interval '1 hour', edge.child_id
      FROM taken
     CROSS JOIN LATERAL (
            SELECT child_id FROM dependencies WHERE parent_id = taken.job_id) AS edge
), edges AS (
    DELETE FROM dependencies WHERE child_id = ANY (ARRAY(SELECT job_id FROM taken))
), completions AS (
    DELETE FROM completion_webhooks WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
), turns AS (
    -- No check: who stood behind it is erased as well, and is not to run before that.
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
), answers AS (
    DELETE FROM attempts WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
), told AS (
    DELETE FROM journal WHERE job_id = ANY (ARRAY(SELECT job_id FROM taken))
)
SELECT count(*)::int FROM taken;

-- name: erase_messages
-- Messages of an organization, with their keys: those whose deliveries are erased.
-- Nobody is waited for.
-- $1 organization_id uuid, $2 limit int
WITH chosen AS MATERIALIZED (
    SELECT id
      FROM messages
     WHERE organization_id = $1
       AND NOT EXISTS (SELECT FROM jobs WHERE jobs.message_id = messages.id)
     ORDER BY id
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), bodies AS (
    -- No join: see `claim`.
    DELETE FROM messages WHERE id = ANY (ARRAY(SELECT id FROM chosen))
    RETURNING organization_id, idempotency_key
), keys AS (
    DELETE FROM message_keys
     USING bodies
     WHERE message_keys.organization_id = bodies.organization_id
       AND message_keys.key = bodies.idempotency_key
)
SELECT count(*)::int FROM bodies;

-- name: erase_rest
-- Of an organization without jobs and messages: itself, with its lanes, their tallies, and whatever
-- hangs on its row.  Not before $2 has passed, in which the last word that it is closed
-- has reached everybody who might still have let a job in.
-- $1 organization_id uuid, $2 grace interval
WITH gone AS (
    DELETE FROM organizations
     WHERE id = $1
       AND erased_at < now() - $2::interval
       AND NOT EXISTS (SELECT FROM jobs WHERE jobs.organization_id = $1)
       AND NOT EXISTS (SELECT FROM messages WHERE messages.organization_id = $1)
    RETURNING id
), lines AS (
    DELETE FROM lanes USING gone WHERE lanes.organization_id = gone.id
    RETURNING lanes.id
), counts AS (
    DELETE FROM tallies WHERE lane_id = ANY (ARRAY(SELECT id FROM lines))
), edges AS (
    -- Those by which its workflows waited for their jobs.
    DELETE FROM dependencies
     WHERE child_id = ANY (ARRAY(
            SELECT workflows.id
              FROM gone
              JOIN workflows ON workflows.organization_id = gone.id))
), told AS (
    DELETE FROM notices USING gone WHERE notices.organization_id = gone.id
), active AS (
    DELETE FROM stretches USING gone WHERE stretches.organization_id = gone.id
), keys AS (
    DELETE FROM idempotency USING gone WHERE idempotency.organization_id = gone.id
), message_ones AS (
    DELETE FROM message_keys USING gone WHERE message_keys.organization_id = gone.id
)
SELECT id FROM gone;
