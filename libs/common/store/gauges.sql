-- name: plan_for_all
-- Until the transaction ends, let what follows read whole tables as they lie: who is hot
-- is kept from that, and would walk them by their keys.
SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true),
       set_config('enable_mergejoin', 'on', true);

-- name: count_due
-- What is due and may go: push and workers' jobs apart, with how long the one that has
-- been due for longest is so (seconds).  What waits because somebody wants it to (a queue
-- that is paused, an endpoint that is disabled, resting or throttled) is counted as kept
-- back, and is not late.  Each lane is met once, however many jobs it has.
WITH standing AS MATERIALIZED (
    SELECT lane_id, count(*) AS jobs, min(ready_at) AS since
      FROM ready
     GROUP BY lane_id
     UNION ALL
    SELECT lane_id, count(*), min(run_at)
      FROM scheduled
     WHERE run_at <= now()
     GROUP BY lane_id
), judged AS (
    SELECT standing.*, lanes.push,
           coalesce(queue.paused, false)
           OR lanes.endpoint_id IS NOT NULL
              AND (endpoint.takes IS NOT true OR endpoint.rests) AS kept_back
      FROM standing
      JOIN lanes ON lanes.id = standing.lane_id
      LEFT JOIN LATERAL (
            SELECT paused
              FROM queues
             WHERE queues.organization_id = lanes.organization_id
               AND queues.name = lanes.queue_name
             LIMIT 1
           ) AS queue ON true
      LEFT JOIN LATERAL (
            SELECT enabled AND deleted_at IS NULL AS takes,
                   coalesce(greatest(open_until, throttled_until) > now(), false) AS rests
              FROM endpoints
              LEFT JOIN endpoint_health ON endpoint_id = endpoints.id
             WHERE endpoints.id = lanes.endpoint_id
             LIMIT 1
           ) AS endpoint ON true
)
SELECT coalesce(sum(jobs) FILTER (WHERE push AND NOT kept_back), 0)::bigint
           AS deliveries,
       coalesce(extract(epoch FROM now() - min(since) FILTER (
           WHERE push AND NOT kept_back)), 0)::double precision AS deliveries_seconds,
       coalesce(sum(jobs) FILTER (WHERE NOT push AND NOT kept_back), 0)::bigint AS work,
       coalesce(extract(epoch FROM now() - min(since) FILTER (
           WHERE NOT push AND NOT kept_back)), 0)::double precision AS work_seconds,
       coalesce(sum(jobs) FILTER (WHERE kept_back), 0)::bigint AS kept_back
  FROM judged;

-- name: count_places
-- How many jobs stand in each place where they wait, are worked on, or are dead; of those
-- that are scheduled, how many are deliveries, and how many were tried before.
SELECT (SELECT count(*) FROM ready)   AS ready,
       scheduled.*,
       (SELECT count(*) FROM waiting) AS waiting,
       (SELECT count(*) FROM held)    AS held,
       (SELECT count(*) FROM leased)  AS leased,
       (SELECT count(*) FROM dead)    AS dead
  FROM (SELECT coalesce(sum(jobs), 0)::bigint                        AS scheduled,
               coalesce(sum(jobs) FILTER (WHERE push), 0)::bigint    AS deliveries_scheduled,
               coalesce(sum(retrying), 0)::bigint                    AS retrying
          FROM (SELECT lane_id, count(*) AS jobs,
                       count(*) FILTER (WHERE retry_count > 0) AS retrying
                  FROM scheduled
                 GROUP BY lane_id) AS by_lane
          JOIN lanes ON lanes.id = lane_id) AS scheduled;

-- name: count_endpoints
-- How many endpoints there are, by how they are: each in one state, the first that fits.
SELECT count(*) FILTER (WHERE state = 'disabled')  AS disabled,
       count(*) FILTER (WHERE state = 'open')      AS open,
       count(*) FILTER (WHERE state = 'throttled') AS throttled,
       count(*) FILTER (WHERE state = 'enabled')   AS enabled
  FROM (SELECT CASE WHEN NOT enabled THEN 'disabled'
                    WHEN open_until > now() THEN 'open'
                    WHEN throttled_until > now() THEN 'throttled'
                    ELSE 'enabled' END AS state
          FROM endpoints
          LEFT JOIN endpoint_health ON endpoint_id = endpoints.id
         WHERE deleted_at IS NULL) AS each;

-- name: read_outbox
-- Transitions and other happenings that are committed and not announced, up to $1, and for
-- how long the first of them is so (seconds).
-- $1 limit int
WITH unannounced AS (
    SELECT news.at
      FROM announced
     CROSS JOIN LATERAL (
            (SELECT at
               FROM journal
              WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)
              ORDER BY journal.xid, journal.seq
              LIMIT $1)
             UNION ALL
            (SELECT at
               FROM notices
              WHERE (notices.xid, notices.seq) > (announced.xid, announced.seq)
              ORDER BY notices.xid, notices.seq
              LIMIT $1)
           ) AS news
)
SELECT count(*) AS events,
       coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::double precision
           AS seconds
  FROM unannounced;

-- name: read_server
-- What of Postgres itself must not grow: the oldest transaction, the database; and until
-- when partitions stand ready.  Without the right to see others' sessions only our own
-- are looked at.
SELECT coalesce((SELECT max(extract(epoch FROM clock_timestamp() - xact_start))
                   FROM pg_stat_activity
                  WHERE datname = current_database()
                    AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'), 0)::double precision
           AS oldest_transaction_seconds,
       pg_database_size(current_database()) AS bytes,
       coalesce(extract(epoch FROM (
           SELECT min(upto)
             FROM (SELECT max(to_date(substring(child.relname FROM '\d{4}w\d{2}$'),
                                      'IYYY"w"IW')) + 7 AS upto
                     FROM pg_inherits
                     JOIN pg_class AS child ON child.oid = inhrelid
                     JOIN pg_class AS parent ON parent.oid = inhparent
                    WHERE parent.relkind = 'p'
                      AND child.relname ~ '^[a-z]+_\d{4}w\d{2}$'
                    GROUP BY parent.oid) AS each)::timestamp AT TIME ZONE 'UTC'
           ), 0)::double precision AS partitions_until;

-- name: count_workers
-- How many workers there are, by what they say of themselves or their silence does.
SELECT count(*) FILTER (WHERE status = 'healthy')  AS healthy,
       count(*) FILTER (WHERE status = 'degraded') AS degraded,
       count(*) FILTER (WHERE status = 'offline')  AS offline
  FROM workers;

-- name: count_transitions
-- All that ever happened to jobs and was announced, and how long what completed took (ms);
-- each lane's by the key.
SELECT transition, sum(ever.jobs)::bigint AS jobs, sum(ever.duration_ms) AS duration_ms
  FROM lanes
 CROSS JOIN LATERAL (
        SELECT transition, jobs, duration_ms
          FROM tallies
         WHERE tallies.lane_id = lanes.id
           AND tallies.bucket = '-infinity'
         ORDER BY tallies.lane_id, tallies.bucket, tallies.transition
         LIMIT 1000
       ) AS ever
 GROUP BY transition;
