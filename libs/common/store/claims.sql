-- name: ready_lanes
-- The lanes that have ready jobs, in order: one probe of the index a lane, never a scan.
-- $1 after which lane int, $2 limit int
WITH RECURSIVE walk AS (
    (SELECT lane_id, 1 AS step
       FROM ready
      WHERE lane_id > $1
      ORDER BY lane_id
      LIMIT 1)
    UNION ALL
    SELECT following.lane_id, walk.step + 1
      FROM walk
     CROSS JOIN LATERAL (
            SELECT lane_id
              FROM ready
             WHERE ready.lane_id > walk.lane_id
             ORDER BY lane_id
             LIMIT 1
           ) AS following
     WHERE walk.step < $2
)
SELECT lanes.id, lanes.organization_id, lanes.queue_name, lanes.destination, lanes.push
  FROM walk
  JOIN lanes ON lanes.id = walk.lane_id
 ORDER BY lanes.id;

-- name: claim
-- ready → leased: take up to so many jobs of each lane, most urgent and longest ready
-- first, under new leases of up to $4 jobs each.  A job whose time to run has passed
-- comes with expired = true: it must be settled so, not run.  A body over $8 bytes is
-- left out (see read_body).
-- $1 lanes int[], $2 how many of each int[], $3 lease ids uuid[], $4 jobs a lease int,
-- $5 owner text, $6 push boolean, $7 lease interval, $8 bytes int
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::int[]) AS wanted (lane_id, quota)
), picked AS MATERIALIZED (
    SELECT first.address
      FROM wanted
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM ready
             WHERE ready.lane_id = wanted.lane_id
             ORDER BY rank, ready_at, job_id
             LIMIT wanted.quota
               FOR UPDATE SKIP LOCKED
           ) AS first
), taken AS (
    -- Where the locked rows stand: a join would be planned by what the table held when
    -- it was last analyzed, and that is nothing whenever the house had caught up.
    DELETE FROM ready
     WHERE ctid = ANY (ARRAY(SELECT address FROM picked))
    RETURNING ready.*
), assigned AS MATERIALIZED (
    SELECT *, ($3::uuid[])[1 + (row_number() OVER () - 1) / $4] AS lease_id
      FROM taken
), opened AS (
    -- A worker has what it claims; a batch has yet to find its pod.
    INSERT INTO leases (id, owner, push, deadline, taken_up, job_ids)
    SELECT lease_id, $5, $6, now() + $7::interval, NOT $6,
           array_agg(job_id ORDER BY job_id)
      FROM assigned
     GROUP BY lease_id
), into_leased AS (
    INSERT INTO leased (job_id, lease_id, lane_id, rank, attempt, retry_count, crash_count)
    SELECT job_id, lease_id, lane_id, rank, attempt + 1, retry_count, crash_count
      FROM assigned
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'started', rank, attempt + 1, $5
      FROM assigned
)
SELECT assigned.job_id, assigned.lease_id, assigned.lane_id,
       assigned.attempt + 1 AS attempt, body.*
  FROM assigned
 CROSS JOIN LATERAL (
        SELECT CASE WHEN octet_length(jobs.payload::text) <= $8
                    THEN jobs.payload END AS payload,
               octet_length(jobs.payload::text) AS payload_bytes,
               jobs.organization_id, jobs.target_url, jobs.target_method,
               jobs.target_headers, jobs.target_timeout_seconds,
               coalesce(jobs.expires_at <= now(), false) AS expired
          FROM jobs
         WHERE jobs.id = assigned.job_id
         LIMIT 1
       ) AS body;
