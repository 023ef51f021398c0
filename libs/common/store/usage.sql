-- name: lock
-- Let nobody else count an organization's jobs until the transaction ends; returns how
-- many it created today (UTC).  Nothing is returned for one that is no more.
-- $1 organization_ids uuid[], in order
WITH there AS MATERIALIZED (
    SELECT id
      FROM organizations
     WHERE id = ANY ($1::uuid[])
       AND erased_at IS NULL
     ORDER BY id
       FOR KEY SHARE
)
INSERT INTO daily_usage AS usage (organization_id, day)
SELECT id, (now() AT TIME ZONE 'UTC')::date
  FROM there
 ORDER BY id
    ON CONFLICT (organization_id, day) DO UPDATE SET jobs = usage.jobs
RETURNING organization_id, jobs;

-- name: count_active
-- How many jobs of organizations stand somewhere where they are not yet ended; nobody
-- is counted further than it takes to know that there are too many.
-- $1 organization_ids uuid[], $2 limits int[]
SELECT asked.organization_id, found.jobs
  FROM unnest($1::uuid[], $2::int[]) AS asked (organization_id, most)
 CROSS JOIN LATERAL (
        SELECT count(*)::int AS jobs
          FROM (SELECT
                  FROM lanes
                 CROSS JOIN LATERAL (
                        SELECT FROM ready WHERE ready.lane_id = lanes.id
                        UNION ALL
                        SELECT FROM scheduled WHERE scheduled.lane_id = lanes.id
                        UNION ALL
                        SELECT FROM waiting WHERE waiting.lane_id = lanes.id
                        UNION ALL
                        SELECT FROM held WHERE held.lane_id = lanes.id
                        UNION ALL
                        SELECT FROM leased WHERE leased.lane_id = lanes.id
                       ) AS active
                 WHERE lanes.organization_id = asked.organization_id
                   AND NOT lanes.telling
                 LIMIT asked.most + 1::bigint) AS bounded
       ) AS found;

-- name: queue_names
-- The queues of organizations: those that were configured, those that have lanes, and
-- those of schedules that fire.
-- $1 organization_ids uuid[]
SELECT organization_id, name
  FROM queues
 WHERE organization_id = ANY ($1::uuid[])
 UNION
SELECT organization_id, queue_name
  FROM lanes
 WHERE organization_id = ANY ($1::uuid[])
   AND NOT retired
   AND NOT telling
 UNION
SELECT organization_id, queue_name
  FROM schedules
 WHERE organization_id = ANY ($1::uuid[])
   AND NOT paused
   AND next_tick IS NOT NULL;

-- name: charge
-- Count jobs that were created today, in the transaction that locked the usage.
-- $1 organization_ids uuid[], $2 jobs int[]
UPDATE daily_usage
   SET jobs = daily_usage.jobs + created.jobs
  FROM unnest($1::uuid[], $2::int[]) AS created (organization_id, jobs)
 WHERE daily_usage.organization_id = created.organization_id
   AND daily_usage.day = (now() AT TIME ZONE 'UTC')::date;

-- name: read
-- How much of everything an organization has now.  Whose plan has no daily limit is
-- not counted while it creates: its jobs of today are.
-- $1 organization_id uuid, $2 whether it is counted boolean
SELECT CASE WHEN $2
            THEN coalesce((SELECT jobs FROM daily_usage
                            WHERE organization_id = $1
                              AND day = (now() AT TIME ZONE 'UTC')::date), 0)
            ELSE (SELECT count(*)
                    FROM jobs
                   WHERE organization_id = $1
                     AND id >= first_id_at(
                            date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
                   AND NOT is_telling(queue_name, coalesce(target_url, endpoint_id::text)
                                                  IS NOT NULL))
       END::int AS jobs_today,
       (SELECT count(*)
          FROM open_jobs($1, NULL, '{ready,scheduled,waiting,held,leased}'))::int
           AS active_jobs,
       (SELECT count(*)
          FROM (SELECT name FROM queues WHERE organization_id = $1
                 UNION
                SELECT queue_name FROM lanes
                 WHERE organization_id = $1 AND NOT retired AND NOT telling
                 UNION
                SELECT queue_name FROM schedules
                 WHERE organization_id = $1
                   AND NOT paused
                   AND next_tick IS NOT NULL) AS names)::int AS queues,
       (SELECT count(*)
          FROM workers
         WHERE organization_id = $1
           AND status IN ('healthy', 'degraded'))::int AS workers,
       (SELECT count(*)
          FROM api_keys
         WHERE organization_id = $1
           AND is_active
           AND (expires_at IS NULL OR expires_at > now()))::int AS api_keys,
       (SELECT count(*)
          FROM endpoints
         WHERE organization_id = $1
           AND enabled
           AND deleted_at IS NULL)::int AS webhooks,
       (SELECT count(*)
          FROM schedules
         WHERE organization_id = $1
           AND NOT paused
           AND next_tick IS NOT NULL)::int AS schedules,
       (SELECT count(*)
          FROM workflows
         WHERE organization_id = $1
           AND state IN ('pending', 'running'))::int AS workflows;

-- name: forget_days
-- What was counted on days before yesterday (UTC) is read by nobody.
-- $1 limit int
DELETE FROM daily_usage
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM daily_usage
         WHERE day < (now() AT TIME ZONE 'UTC')::date - 1
         ORDER BY organization_id, day
         LIMIT $1
           FOR UPDATE SKIP LOCKED));

-- name: reset
-- Count an organization's jobs of today from nothing again.
-- $1 organization_id uuid
UPDATE daily_usage
   SET jobs = 0
 WHERE organization_id = $1
   AND day = (now() AT TIME ZONE 'UTC')::date;
