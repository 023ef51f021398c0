-- name: read_circumstances
-- What may keep a job from running now, beside its own place: its queue, its endpoint, its
-- line, its workflow, and who comes before it (up to 1 000 are counted).  How much room
-- its gates have says `limits.read_rooms`.
-- $1 job_id uuid
SELECT standing.place, standing.run_at, standing.retry_count, standing.ending,
       standing.started_at, standing.settled_at, standing.last_error,
       jobs.queue_name, jobs.endpoint_id, jobs.expires_at, now() AS asked_at,
       coalesce(leased.owner, leases.owner) AS owner,
       coalesce(leased.deadline, leases.deadline) AS deadline,
       held.reason AS held_for, lane.id AS lane_id, lane.push,
       queue.id AS queue_id, queue.paused, queue.paused_for,
       queue.rate_limit, queue.concurrency,
       endpoint.enabled AS endpoint_enabled, endpoint.disabled_reason,
       endpoint.deleted_at IS NOT NULL AS endpoint_deleted, endpoint.max_concurrency,
       endpoint.rate_limit_per_second, endpoint.open_until, endpoint.throttled_until,
       CASE WHEN standing.place = 'ready' THEN (
            SELECT count(*)
              FROM (SELECT
                      FROM ready AS sooner
                     WHERE sooner.lane_id = mine.lane_id
                       AND (sooner.rank, sooner.ready_at, sooner.job_id)
                           < (mine.rank, mine.ready_at, mine.job_id)
                     LIMIT 1000) AS before) END::int AS before,
       (SELECT coalesce(details ->> 'reason', actor)
          FROM journal
         WHERE journal.job_id = $1
           AND transition = 'cancelled'
         ORDER BY seq DESC
         LIMIT 1) AS cancelled_for
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  JOIN lanes AS lane ON lane.id = standing.lane_id
  LEFT JOIN ready AS mine ON mine.job_id = jobs.id
  LEFT JOIN held ON held.job_id = jobs.id
  LEFT JOIN leased ON leased.job_id = jobs.id
  LEFT JOIN leases ON leases.id = leased.lease_id
  LEFT JOIN LATERAL (
        SELECT id, paused, rate_limit, concurrency,
               settings ->> 'paused_reason' AS paused_for
          FROM queues
         WHERE queues.organization_id = jobs.organization_id
           AND queues.name = jobs.queue_name
         LIMIT 1
       ) AS queue ON true
  LEFT JOIN LATERAL (
        SELECT enabled, disabled_reason, deleted_at, max_concurrency,
               rate_limit_per_second, open_until,
               nullif(throttled_until, '-infinity') AS throttled_until
          FROM endpoints
          LEFT JOIN endpoint_health ON endpoint_health.endpoint_id = endpoints.id
         WHERE endpoints.id = jobs.endpoint_id
         LIMIT 1
       ) AS endpoint ON true
 WHERE jobs.id = $1;

-- name: open_parents
-- The jobs that a job still waits for: the first so many.
-- $1 job_id uuid, $2 queue names text[] or null for all, $3 limit int
SELECT jobs.id, jobs.queue_name, mine.key, dependencies.mode::text AS mode,
       dependencies.kind::text AS kind,
       status_of(standing.place, standing.ending, standing.retry_count) AS status
  FROM dependencies
  JOIN jobs ON jobs.id = dependencies.parent_id
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  LEFT JOIN workflow_jobs AS mine ON mine.job_id = jobs.id
 WHERE dependencies.child_id = $1
   AND standing.place NOT IN ('finished', 'dead')
   AND ($2::text[] IS NULL OR jobs.queue_name = ANY ($2))
 ORDER BY jobs.id
 LIMIT $3;
