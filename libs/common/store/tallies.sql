-- name: count_announced
-- Remember that the journal was announced up to a point, and count what was announced:
-- both, or neither.  When it was not announced exactly as far as the caller thinks,
-- somebody else counted it, and nothing happens and nothing is returned.
-- The commit need not reach the disk: lost, both are done again, and no job waits
-- behind this flush for its own.
-- $1 up to xid text, $2 up to seq bigint, $3 so far xid text, $4 so far seq bigint
-- Arrays, one element a lane, bucket and transition, in that order: $5 lanes int, $6
-- buckets timestamptz, $7 transitions text, $8 jobs bigint, $9 durations double
-- precision (ms), $10 waits double precision (ms)
-- Arrays, one element a worker, in the order of ids: $11 ids text, $12 organizations
-- uuid, $13 jobs completed bigint, $14 jobs failed bigint
-- Arrays, one element an organization and transaction: $15 organizations uuid, $16 xids
-- text
WITH moved AS (
    UPDATE announced
       SET xid = $1::text::xid8, seq = $2,
           charted_since = CASE WHEN charted_xid = xid AND charted_seq = seq
                                THEN charted_since ELSE xid END,
           charted_xid = $1::text::xid8, charted_seq = $2
     WHERE xid = $3::text::xid8
       AND seq = $4
    RETURNING seq
), told AS (
    SELECT told.*
      FROM moved
     CROSS JOIN unnest($5::int[], $6::timestamptz[], $7::transition[], $8::bigint[],
                       $9::double precision[], $10::double precision[])
           AS told (lane_id, bucket, transition, jobs, duration_ms, wait_ms)
), counted AS (
    INSERT INTO tallies AS tally
                (lane_id, bucket, transition, jobs, duration_ms, wait_ms)
    SELECT * FROM told
     UNION ALL
    SELECT lane_id, '-infinity', transition, sum(jobs), sum(duration_ms), sum(wait_ms)
      FROM told
     GROUP BY lane_id, transition
     ORDER BY 1, 2, 3
        ON CONFLICT (lane_id, bucket, transition) DO UPDATE
       SET jobs        = tally.jobs + excluded.jobs,
           duration_ms = tally.duration_ms + excluded.duration_ms,
           wait_ms     = tally.wait_ms + excluded.wait_ms
), charted AS (
    INSERT INTO stretches (organization_id, number)
    SELECT DISTINCT happened.organization_id, stretch_of(happened.xid::xid8)
      FROM moved
     CROSS JOIN unnest($15::uuid[], $16::text[]) AS happened (organization_id, xid)
     ORDER BY 1, 2
        ON CONFLICT DO NOTHING
), known AS MATERIALIZED (
    SELECT workers.id
      FROM moved
     CROSS JOIN workers
     WHERE workers.id = ANY ($11::text[])
     ORDER BY workers.id
       FOR UPDATE OF workers
), credited AS (
    UPDATE workers
       SET jobs_processed = workers.jobs_processed + done.completed,
           jobs_failed    = workers.jobs_failed + done.failed
      FROM unnest($11::text[], $12::uuid[], $13::bigint[], $14::bigint[])
           AS done (id, organization_id, completed, failed)
     WHERE workers.id = done.id
       AND workers.organization_id = done.organization_id
       AND workers.id = ANY (ARRAY(SELECT id FROM known))
)
SELECT seq, set_config('synchronous_commit', 'off', true) FROM moved;

-- name: fold
-- Five minutes → days: what is older than $1 needs no finer grain.  Returned is how
-- many were folded.
-- $1 age interval, $2 limit int
WITH old AS MATERIALIZED (
    SELECT ctid AS address
      FROM tallies
     WHERE bucket < now() - $1::interval
       AND (bucket AT TIME ZONE 'UTC')::time <> '00:00'
     ORDER BY bucket
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM tallies
     WHERE ctid = ANY (ARRAY(SELECT address FROM old))
    RETURNING *
), folded AS (
    INSERT INTO tallies AS tally
                (lane_id, bucket, transition, jobs, duration_ms, wait_ms)
    SELECT lane_id, date_trunc('day', bucket AT TIME ZONE 'UTC') AT TIME ZONE 'UTC',
           transition, sum(jobs), sum(duration_ms), sum(wait_ms)
      FROM taken
     GROUP BY 1, 2, 3
     ORDER BY 1, 2, 3
        ON CONFLICT (lane_id, bucket, transition) DO UPDATE
       SET jobs        = tally.jobs + excluded.jobs,
           duration_ms = tally.duration_ms + excluded.duration_ms,
           wait_ms     = tally.wait_ms + excluded.wait_ms
)
SELECT count(*)::int FROM taken;

-- name: of_organization
-- How an organization stands, or some of its queues.  What tells of its jobs counts only
-- where its queue is asked for.
-- $1 organization_id uuid, $2 queue names text[] or null for all
SELECT *
  FROM figures_of(ARRAY(
        SELECT id
          FROM lanes
         WHERE organization_id = $1
           AND CASE WHEN $2::text[] IS NULL THEN NOT telling
                    ELSE queue_name = ANY ($2) END));

-- name: of_queues
-- How each of these queues stands.
-- $1 organization_id uuid, $2 queue names text[]
SELECT asked.queue_name, figures.*
  FROM unnest($2::text[]) AS asked (queue_name)
 CROSS JOIN LATERAL figures_of(ARRAY(
        SELECT id
          FROM lanes
         WHERE lanes.organization_id = $1
           AND lanes.queue_name = asked.queue_name)) AS figures;

-- name: series
-- What happened in each five minutes since then, as far as it was announced.  Ordered
-- and limited so that each lane's are found by the key, whatever others have.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 since timestamptz
SELECT bucket, transition, sum(told.jobs)::bigint AS jobs,
       sum(duration_ms) AS duration_ms, sum(wait_ms) AS wait_ms
  FROM lanes
 CROSS JOIN LATERAL (
        SELECT *
          FROM tallies
         WHERE tallies.lane_id = lanes.id
           AND tallies.bucket >= $3
         ORDER BY tallies.lane_id, tallies.bucket, tallies.transition
         LIMIT 1000000000
       ) AS told
 WHERE organization_id = $1
   AND CASE WHEN $2::text[] IS NULL THEN NOT telling ELSE queue_name = ANY ($2) END
 GROUP BY bucket, transition
 ORDER BY bucket, transition;

-- name: of_everything
-- How the whole house stands.
SELECT * FROM figures_of(ARRAY(SELECT id FROM lanes));

-- name: forget_tallies
-- Days that are older than $1; what there ever was stays.
-- $1 age interval, $2 limit int
DELETE FROM tallies
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM tallies
         WHERE bucket < now() - $1::interval
           AND (bucket AT TIME ZONE 'UTC')::time = '00:00'
           AND bucket > '-infinity'
         ORDER BY bucket
         LIMIT $2
           FOR UPDATE SKIP LOCKED));
