-- When a job was to run, which its place forgets as soon as it is due.

ALTER TABLE jobs
    ADD COLUMN scheduled_at timestamptz;

CREATE OR REPLACE VIEW listed AS
SELECT jobs.id, jobs.organization_id, jobs.queue_name, jobs.job_type, jobs.max_retries,
       jobs.tags, jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, coalesce(standing.run_at, jobs.scheduled_at) AS run_at,
       standing.started_at, standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       is_telling(jobs.queue_name,
                  jobs.endpoint_id IS NOT NULL OR jobs.target_url IS NOT NULL) AS telling
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  LEFT JOIN LATERAL (
        SELECT attempts.error
          FROM attempts
         WHERE attempts.job_id = jobs.id
           AND attempts.error IS NOT NULL
           AND standing.retry_count > 0
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS failed ON true;
