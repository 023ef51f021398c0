-- name: list_attempts
-- Every attempt of one job, in order.
-- $1 organization_id uuid, $2 job_id uuid, $3 limit int, $4 offset int, $5 newest
-- first boolean
SELECT attempts.attempt, attempts.verdict::text AS verdict, attempts.actor,
       attempts.started_at, attempts.duration_ms, attempts.status_code,
       attempts.error, attempts.response_headers, attempts.response_body
  FROM attempts
  JOIN jobs ON jobs.id = attempts.job_id
 WHERE attempts.job_id = $2
   AND jobs.organization_id = $1
 ORDER BY CASE WHEN $5 THEN -attempts.attempt ELSE attempts.attempt END
 LIMIT $3 OFFSET $4;

-- name: list_of_endpoint
-- What an endpoint was sent, the latest attempt first.
-- $1 endpoint_id uuid, $2 whether it went well boolean, or null for either, $3 limit int,
-- $4 offset int
SELECT attempts.job_id, body.message_id, body.webhook_id, body.job_type,
       attempts.attempt, attempts.verdict::text AS verdict, attempts.actor,
       attempts.started_at, attempts.duration_ms, attempts.status_code,
       attempts.error, attempts.response_headers, attempts.response_body
  FROM attempts
 CROSS JOIN LATERAL (
        SELECT message_id, webhook_id, job_type
          FROM jobs
         WHERE jobs.id = attempts.job_id
         LIMIT 1
       ) AS body
 WHERE attempts.endpoint_id = $1
   AND ($2::boolean IS NULL OR $2 = (verdict = 'delivered'))
 ORDER BY attempts.started_at DESC, attempts.job_id DESC
 LIMIT $3 OFFSET $4;

-- name: list_failed_at_endpoint
-- The same of those that did not go well: walks only these.
-- $1 endpoint_id uuid, $2 limit int, $3 offset int
SELECT attempts.job_id, body.message_id, body.webhook_id, body.job_type,
       attempts.attempt, attempts.verdict::text AS verdict, attempts.actor,
       attempts.started_at, attempts.duration_ms, attempts.status_code,
       attempts.error, attempts.response_headers, attempts.response_body
  FROM attempts
 CROSS JOIN LATERAL (
        SELECT message_id, webhook_id, job_type
          FROM jobs
         WHERE jobs.id = attempts.job_id
         LIMIT 1
       ) AS body
 WHERE attempts.endpoint_id = $1
   AND verdict <> 'delivered'
 ORDER BY attempts.started_at DESC, attempts.job_id DESC
 LIMIT $2 OFFSET $3;
