-- name: finished
-- Jobs that ended well over the last four weeks, each with an attempt and what the journal
-- says of it, announced long ago.
-- $1 organization_id uuid, $2 queue text, $3 lane int, $4 payload text (JSON), $5 first
-- number int, $6 last number int, $7 how many there will be int
WITH numbered AS MATERIALIZED (
    SELECT at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '70008' || lpad(to_hex(number), 15, '0'))::uuid AS id
      FROM generate_series($5::int, $6::int) AS number
     CROSS JOIN LATERAL (
            SELECT now() - interval '4 weeks' * (number::float8 / $7::int) AS at
           ) AS moment
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,
                      timeout_seconds, created_at)
    SELECT id, $1::uuid, $2::text, $4::json, 3, 300, at FROM numbered
), places AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending,
                          started_at, finished_at)
    SELECT id, $3::int, 100, 1, 0, 'completed', at, at FROM numbered
), tries AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms,
                          status_code)
    SELECT id, 1, 'delivered', 'history', at, 5, 200 FROM numbered
)
INSERT INTO journal (xid, job_id, lane_id, transition, rank, attempt, at)
SELECT '3', id, $3::int, each.transition::transition, 100, 1, at
  FROM numbered
 CROSS JOIN (VALUES (1, 'created'), (2, 'started'), (3, 'completed'))
      AS each (step, transition)
 ORDER BY id, step;

-- name: scheduled
-- Jobs for the days to come.
-- $1 to $6 as in `finished`
WITH numbered AS MATERIALIZED (
    SELECT number, uuidv7() AS id FROM generate_series($5::int, $6::int) AS number
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,
                      timeout_seconds)
    SELECT id, $1::uuid, $2::text, $4::json, 3, 300 FROM numbered
), places AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank)
    SELECT now() + interval '1 day' + number * interval '1 second', id, $3::int, 100
      FROM numbered
)
INSERT INTO journal (xid, job_id, lane_id, transition, rank, attempt)
SELECT '3', id, $3::int, 'created', 100, 0 FROM numbered;

-- name: dead
-- Dead letters.
-- $1 to $6 as in `finished`
WITH numbered AS MATERIALIZED (
    SELECT uuidv7() AS id FROM generate_series($5::int, $6::int)
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,
                      timeout_seconds)
    SELECT id, $1::uuid, $2::text, $4::json, 3, 300 FROM numbered
), places AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error)
    SELECT id, $3::int, 100, 4, 3, 'attempts_exhausted', 'HTTP 500' FROM numbered
)
INSERT INTO journal (xid, job_id, lane_id, transition, rank, attempt)
SELECT '3', id, $3::int, 'deadlettered', 100, 4 FROM numbered;

-- name: ready
-- Jobs that wait for a worker who does not come.
-- $1 to $6 as in `finished`
WITH numbered AS MATERIALIZED (
    SELECT uuidv7() AS id FROM generate_series($5::int, $6::int)
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,
                      timeout_seconds)
    SELECT id, $1::uuid, $2::text, $4::json, 3, 300 FROM numbered
), places AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id)
    SELECT $3::int, 100, now(), id FROM numbered
)
INSERT INTO journal (xid, job_id, lane_id, transition, rank, attempt)
SELECT '3', id, $3::int, 'created', 100, 0 FROM numbered;
