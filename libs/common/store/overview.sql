-- name: usage_of
-- How much of the countable each of these organizations has.  Jobs of today (UTC) of
-- those that have no daily limit are those that were announced.
-- $1 organization_ids uuid[]
SELECT asked.id AS organization_id,
       coalesce(
           (SELECT daily_usage.jobs
              FROM daily_usage
             WHERE daily_usage.organization_id = asked.id
               AND day = (now() AT TIME ZONE 'UTC')::date),
           (SELECT sum(tallies.jobs)
              FROM lanes
              JOIN tallies ON tallies.lane_id = lanes.id
             WHERE lanes.organization_id = asked.id
               AND NOT lanes.telling
               AND tallies.transition = 'created'
               AND tallies.bucket
                   >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'),
           0)::bigint AS jobs_today,
       (SELECT coalesce(sum(open.jobs), 0)
          FROM lanes
         CROSS JOIN LATERAL (
                SELECT (SELECT count(*) FROM ready     WHERE lane_id = lanes.id)
                     + (SELECT count(*) FROM scheduled WHERE lane_id = lanes.id)
                     + (SELECT count(*) FROM waiting   WHERE lane_id = lanes.id)
                     + (SELECT count(*) FROM held      WHERE lane_id = lanes.id)
                     + (SELECT count(*) FROM leased    WHERE lane_id = lanes.id) AS jobs
               ) AS open
         WHERE lanes.organization_id = asked.id
           AND NOT lanes.telling)::bigint AS active_jobs,
       (SELECT count(*)
          FROM (SELECT name FROM queues WHERE queues.organization_id = asked.id
                 UNION
                SELECT queue_name FROM lanes
                 WHERE lanes.organization_id = asked.id
                   AND NOT retired
                   AND NOT telling) AS named) AS queues,
       (SELECT count(*)
          FROM workers
         WHERE workers.organization_id = asked.id
           AND status IN ('healthy', 'degraded')) AS workers,
       (SELECT count(*)
          FROM api_keys
         WHERE api_keys.organization_id = asked.id
           AND is_active
           AND (expires_at IS NULL OR expires_at > now())) AS api_keys
  FROM unnest($1::uuid[]) AS asked (id);

-- name: count_by_plan
-- How many organizations there are on each plan, and how many of them are new today
-- and this week (UTC); closed ones do not count.
SELECT plan_tier, count(*) AS organizations,
       count(*) FILTER (WHERE created_at
           >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
           AS created_today,
       count(*) FILTER (WHERE created_at
           >= date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
           AS created_this_week
  FROM organizations
 WHERE erased_at IS NULL
   AND plan_tier <> 'deleted'
 GROUP BY plan_tier
 ORDER BY plan_tier;

-- name: count_workers
-- How many workers the house has that did not go, by what they say of themselves.
SELECT count(*)                                      AS total,
       count(*) FILTER (WHERE status = 'healthy')  AS healthy,
       count(*) FILTER (WHERE status = 'degraded') AS degraded
  FROM workers
 WHERE status <> 'offline';

-- name: count_workers_of
-- How many workers an organization has, and how many of them showed themselves within
-- the last minute.  Who signed off does not count; who fell silent does.
-- $1 organization_id uuid, $2 queue names text[] or null for all
SELECT count(*) AS total,
       count(*) FILTER (WHERE status <> 'offline'
                          AND last_heartbeat_at > now() - interval '1 minute') AS healthy
  FROM workers
 WHERE organization_id = $1
   AND ($2::text[] IS NULL OR queue_name = ANY ($2))
   AND (status <> 'offline' OR last_heartbeat_at < updated_at - interval '1 minute');

-- name: busiest_queues
-- The queues that have most to do, and whether they are paused.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 limit int
WITH named AS MATERIALIZED (
    SELECT name
      FROM queues
     WHERE organization_id = $1
       AND ($2::text[] IS NULL OR name = ANY ($2))
     UNION
    SELECT queue_name
      FROM lanes
     WHERE organization_id = $1
       AND NOT retired
       AND CASE WHEN $2::text[] IS NULL THEN NOT telling ELSE queue_name = ANY ($2) END
)
SELECT named.name, coalesce(sum(counts.pending), 0)::bigint AS pending,
       coalesce(sum(counts.processing), 0)::bigint AS processing,
       coalesce(queues.paused, false) AS paused
  FROM named
  LEFT JOIN queues ON queues.organization_id = $1
                  AND queues.name = named.name
  LEFT JOIN lanes ON lanes.organization_id = $1
                 AND lanes.queue_name = named.name
  LEFT JOIN LATERAL (
        SELECT (SELECT count(*) FROM ready     WHERE lane_id = lanes.id)
             + (SELECT count(*) FROM scheduled WHERE lane_id = lanes.id
                                                 AND retry_count > 0)
             + (SELECT count(*) FROM waiting   WHERE lane_id = lanes.id)
             + (SELECT count(*) FROM held      WHERE lane_id = lanes.id) AS pending,
               (SELECT count(*) FROM leased    WHERE lane_id = lanes.id) AS processing
       ) AS counts ON true
 GROUP BY named.name, queues.paused
 ORDER BY 2 DESC, 3 DESC, 1
 LIMIT $3;
