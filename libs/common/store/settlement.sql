-- name: read_policies
-- What decides whether and when leased jobs are tried again.
-- $1 job_ids uuid[], $2 lease_ids uuid[]
SELECT asked.job_id, held.retry_count, body.max_retries,
       coalesce(body.retry, nullif(queues.settings -> 'retry', 'null'))::text AS retry
  FROM unnest($1::uuid[], $2::uuid[]) AS asked (job_id, lease_id)
 CROSS JOIN LATERAL (
        SELECT retry_count
          FROM leased
         WHERE leased.job_id = asked.job_id
           AND leased.lease_id = asked.lease_id
         LIMIT 1
       ) AS held
 CROSS JOIN LATERAL (
        SELECT organization_id, queue_name, max_retries, retry
          FROM jobs
         WHERE jobs.id = asked.job_id
         LIMIT 1
       ) AS body
  LEFT JOIN queues ON queues.organization_id = body.organization_id
                  AND queues.name = body.queue_name;

-- name: settle
-- leased → finished, scheduled, dead or (not sent) ready, with attempt and journal.
-- expired: its time to run had passed when it was claimed, so it was not sent either.
-- Fenced: a job whose lease is not the one named is left alone.  Returned are the
-- jobs that were settled, with their lane and how they ended.
-- Arrays, one element a job, in the order of job ids: $1 job_ids uuid, $2 lease_ids
-- uuid, $3 transitions text (completed, retrying, deadlettered, released, expired), $4 delays
-- double precision (s, of retrying), $5 deaths text, $6 status codes smallint,
-- $7 errors text, $8 durations real (ms), $9 ended ago real (ms), $10 response headers
-- text (JSON), $11 response bodies bytea; $12 actor text
WITH told AS MATERIALIZED (
    -- Told twice, it happened once.
    SELECT DISTINCT ON (job_id, lease_id)
           *, now() - (duration_ms + ended_ms_ago) * interval '1 millisecond'
                AS started_at
      FROM unnest($1::uuid[], $2::uuid[], $3::transition[], $4::double precision[],
                  $5::death[], $6::smallint[], $7::text[], $8::real[], $9::real[],
                  $10::text[], $11::bytea[])
           AS told (job_id, lease_id, transition, delay_seconds, death, status_code,
                    error, duration_ms, ended_ms_ago, response_headers, response_body)
), closed AS MATERIALIZED (
    SELECT mine.*, told.*
      FROM told
     CROSS JOIN LATERAL (
            SELECT ctid AS address, lane_id, rank, attempt, retry_count, crash_count
              FROM leased
             WHERE leased.job_id = told.job_id
               AND leased.lease_id = told.lease_id
             LIMIT 1
               FOR UPDATE
           ) AS mine
), given_back AS (
    -- No join: see `claim`.
    DELETE FROM leased WHERE ctid = ANY (ARRAY(SELECT address FROM closed))
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms,
                          status_code, error, response_headers, response_body)
    SELECT job_id, attempt,
           CASE WHEN transition = 'completed' THEN 'delivered'
                WHEN status_code IS NOT NULL  THEN 'refused'
                ELSE 'unanswered' END::verdict,
           $12, started_at, duration_ms, status_code, error,
           response_headers::jsonb, response_body
      FROM closed
     WHERE transition IN ('completed', 'retrying', 'deadlettered')
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending, started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'completed'::ending, started_at
      FROM closed
     WHERE transition = 'completed'
    UNION ALL
    SELECT job_id, lane_id, rank, attempt - 1, retry_count, 'expired'::ending, NULL
      FROM closed
     WHERE transition = 'expired'
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt, retry_count, crash_count)
    SELECT now() + delay_seconds * interval '1 second',
           job_id, lane_id, rank, attempt, retry_count + 1, crash_count
      FROM closed
     WHERE transition = 'retrying'
), into_dead AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error,
                      started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, death, error, started_at
      FROM closed
     WHERE transition = 'deadlettered'
), into_ready AS (
    -- It was not tried: the attempt did not happen.
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt - 1, retry_count, crash_count
      FROM closed
     WHERE transition = 'released'
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, transition, rank, attempt, $12,
           CASE transition
                WHEN 'completed' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code)
                WHEN 'retrying' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code,
                    'error', error, 'retry_count', retry_count + 1,
                    'run_at', now() + delay_seconds * interval '1 second')
                WHEN 'deadlettered' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code,
                    'error', error, 'retry_count', retry_count, 'reason', death)
                WHEN 'expired' THEN json_build_object('place', 'leased')
           END
      FROM closed
)
SELECT job_id, lease_id, lane_id, transition::text AS transition FROM closed;
