-- name: read_again
-- What it takes to send jobs once more, of those that are an organization's and pushed:
-- where each stands, whether its endpoint is still there, and the lane for what is sent
-- again, which leaves room for what is new.
-- $1 organization_id uuid, $2 job_ids uuid[]
SELECT jobs.id, jobs.organization_id, jobs.queue_name, jobs.payload, jobs.job_type,
       jobs.tags, jobs.max_retries, jobs.timeout_seconds, jobs.retry, jobs.target_url,
       jobs.target_method, jobs.target_headers, jobs.target_timeout_seconds,
       jobs.endpoint_id, jobs.message_id, jobs.enveloped, jobs.webhook_id,
       jobs.completion_of, jobs.line_scope, jobs.line_key, standing.place, standing.rank,
       coalesce(lane.retry_lane_id, lane.id) AS lane_id,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       jobs.endpoint_id IS NULL
       OR EXISTS (SELECT FROM endpoints
                   WHERE endpoints.id = jobs.endpoint_id
                     AND endpoints.deleted_at IS NULL) AS is_reachable
  FROM unnest($2::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = asked.id LIMIT 1) AS jobs
 CROSS JOIN LATERAL (
        SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1
       ) AS standing
 CROSS JOIN LATERAL (
        SELECT id, retry_lane_id FROM lanes WHERE lanes.id = standing.lane_id LIMIT 1
       ) AS lane
 WHERE jobs.organization_id = $1
   AND (jobs.target_url IS NOT NULL OR jobs.endpoint_id IS NOT NULL);
