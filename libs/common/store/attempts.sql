-- name: list_attempts
-- Every attempt of one job, in order.
-- $1 organization_id uuid, $2 job_id uuid, $3 limit int, $4 offset int
SELECT attempts.attempt, attempts.verdict::text AS verdict, attempts.actor,
       attempts.started_at, attempts.duration_ms, attempts.status_code,
       attempts.error, attempts.response_headers, attempts.response_body
  FROM attempts
  JOIN jobs ON jobs.id = attempts.job_id
 WHERE attempts.job_id = $2
   AND jobs.organization_id = $1
 ORDER BY attempts.attempt
 LIMIT $3 OFFSET $4;
