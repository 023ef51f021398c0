-- name: lock_gates
-- Whoever else is about to start jobs of the queues and endpoints of these lanes, or to
-- change what limits them, waits until our transaction ends.  The queues first, each kind
-- in the order of ids, so that a circle cannot close.
-- $1 lanes int[]
WITH asked AS MATERIALIZED (
    SELECT lane.*
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name, endpoint_id
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
), of_queues AS MATERIALIZED (
    SELECT id
      FROM queues
     WHERE id = ANY (ARRAY(
            SELECT queue.id
              FROM asked
             CROSS JOIN LATERAL (
                    SELECT id
                      FROM queues
                     WHERE queues.organization_id = asked.organization_id
                       AND queues.name = asked.queue_name
                     LIMIT 1
                   ) AS queue))
     ORDER BY id
       FOR NO KEY UPDATE
), of_endpoints AS MATERIALIZED (
    SELECT endpoint_id
      FROM endpoint_health
     WHERE endpoint_id = ANY (ARRAY(
            SELECT endpoint_id FROM asked WHERE endpoint_id IS NOT NULL))
       -- To count the queues is to have locked them.
       AND (SELECT count(*) FROM of_queues) >= 0
     ORDER BY endpoint_id
       FOR NO KEY UPDATE
)
SELECT id FROM of_queues
 UNION ALL
SELECT endpoint_id FROM of_endpoints;

-- name: read_rooms
-- How many jobs of each of these lanes may pass each of its gates now: null is any
-- number.  A rate is GCRA's with a burst of one second's worth, of one job at the least; a
-- concurrency is what all lanes of the queue, or of the endpoint, have leased.
-- A statement of its own: its snapshot is younger than the locks, so it sees what the last
-- one started.
--
-- An endpoint lets nothing through while its breaker is open or it is throttled, and one
-- job at a time when the breaker's time is over.  A part of its places, a fifth rounded
-- up, is kept from what is tried again.  Who is disabled or gone has none.
-- $1 lanes int[], $2 locked ids uuid[]
WITH asked AS MATERIALIZED (
    SELECT asked.lane_id, lane.*
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name, endpoint_id, retries
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
), their_queues AS MATERIALIZED (
    SELECT asked.lane_id, queue.*
      FROM asked
     CROSS JOIN LATERAL (
            SELECT id, organization_id, name, rate_limit, concurrency,
                   extract(epoch FROM greatest(rate_spent_until, statement_timestamp())
                                      - statement_timestamp()) AS spent_seconds
              FROM queues
             WHERE queues.organization_id = asked.organization_id
               AND queues.name = asked.queue_name
               AND queues.id = ANY ($2::uuid[])
             LIMIT 1
           ) AS queue
), of_queues AS MATERIALIZED (
    SELECT queue.id,
           CASE WHEN queue.rate_limit IS NOT NULL THEN
                greatest(floor((1 - queue.spent_seconds) * queue.rate_limit), 0)::int
           END AS starts,
           (queue.spent_seconds - 1 + 1.0 / queue.rate_limit)::double precision
               AS next_start_seconds,
           queue.concurrency - working.jobs AS places
      FROM (SELECT DISTINCT id, organization_id, name, rate_limit, concurrency,
                            spent_seconds
              FROM their_queues) AS queue
     CROSS JOIN LATERAL (
            SELECT count(*)::int AS jobs
              FROM (SELECT
                      FROM lanes
                     CROSS JOIN LATERAL (
                            SELECT
                              FROM leased
                             WHERE leased.lane_id = lanes.id
                             LIMIT queue.concurrency
                           ) AS of_lane
                     WHERE lanes.organization_id = queue.organization_id
                       AND lanes.queue_name = queue.name
                       AND queue.concurrency IS NOT NULL
                     LIMIT queue.concurrency) AS counted
           ) AS working
), of_endpoints AS MATERIALIZED (
    SELECT endpoint.endpoint_id AS id, state.*, working.*,
           greatest(state.max_concurrency - ceil(state.max_concurrency / 5.0)::int, 1)
               AS retrying_max
      FROM (SELECT DISTINCT endpoint_id FROM asked WHERE endpoint_id IS NOT NULL)
           AS endpoint
      LEFT JOIN LATERAL (
            SELECT endpoints.max_concurrency, rate_limit_per_second AS rate,
                   greatest(1, 1 / rate_limit_per_second) AS burst_seconds,
                   extract(epoch FROM greatest(rate_spent_until, statement_timestamp())
                                      - statement_timestamp())::double precision
                       AS spent_seconds,
                   extract(epoch FROM greatest(open_until, throttled_until,
                                               statement_timestamp())
                                      - statement_timestamp())::double precision
                       AS shut_seconds,
                   open_until IS NOT NULL AS on_trial
              FROM endpoints
             CROSS JOIN endpoint_health
             WHERE endpoints.id = endpoint.endpoint_id
               AND endpoint_health.endpoint_id = endpoint.endpoint_id
               AND endpoints.id = ANY ($2::uuid[])
               AND enabled
               AND deleted_at IS NULL
             LIMIT 1
           ) AS state ON true
     CROSS JOIN LATERAL (
            SELECT count(*)::int AS jobs, (count(*) FILTER (WHERE retries))::int AS retrying
              FROM (SELECT lanes.retries
                      FROM lanes
                     CROSS JOIN LATERAL (
                            SELECT
                              FROM leased
                             WHERE leased.lane_id = lanes.id
                             LIMIT state.max_concurrency
                           ) AS of_lane
                     WHERE lanes.endpoint_id = endpoint.endpoint_id) AS counted
           ) AS working
)
SELECT lane_id, 'retries' AS kind, id AS gate_id, NULL::int AS starts,
       NULL::double precision AS next_start_seconds,
       greatest(retrying_max - retrying, 0) AS places, 0::double precision AS shut_seconds
  FROM asked
  JOIN of_endpoints ON of_endpoints.id = asked.endpoint_id
 WHERE asked.retries
 UNION ALL
SELECT lane_id, 'endpoint', id,
       CASE WHEN rate IS NOT NULL THEN
            least(greatest(floor((burst_seconds - spent_seconds) * rate + 1e-9), 0),
                  1e6)::int
       END,
       spent_seconds - burst_seconds + 1 / rate,
       CASE WHEN max_concurrency IS NULL THEN 0
            WHEN on_trial THEN greatest(1 - jobs, 0)
            ELSE greatest(max_concurrency - jobs, 0) END,
       coalesce(shut_seconds, 0)
  FROM asked
  JOIN of_endpoints ON of_endpoints.id = asked.endpoint_id
 UNION ALL
SELECT lane_id, 'queue', of_queues.id, starts, next_start_seconds, places, 0
  FROM their_queues
  JOIN of_queues ON of_queues.id = their_queues.id;

-- name: spend
-- So many jobs of these queues and endpoints were started: returns in how many seconds
-- the next may be, of those that have a rate.  Rounded up, so that the rate is never
-- exceeded.
-- $1 queue ids uuid[], $2 jobs int[], $3 endpoint ids uuid[], $4 jobs int[]
WITH at_queues AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[]) AS spent (id, jobs)
), at_endpoints AS MATERIALIZED (
    SELECT endpoint.id, endpoint.rate, spent.jobs
      FROM unnest($3::uuid[], $4::int[]) AS spent (id, jobs)
     CROSS JOIN LATERAL (
            SELECT id, rate_limit_per_second AS rate
              FROM endpoints
             WHERE endpoints.id = spent.id
               AND rate_limit_per_second IS NOT NULL
             LIMIT 1
           ) AS endpoint
), of_queues AS (
    -- No join: see `claim`.
    UPDATE queues
       SET rate_spent_until = greatest(rate_spent_until, statement_timestamp())
                              + ceil((SELECT jobs FROM at_queues WHERE id = queues.id)
                                     * 1000000.0 / rate_limit)
                                * interval '1 microsecond'
     WHERE id = ANY (ARRAY(SELECT id FROM at_queues))
       AND rate_limit IS NOT NULL
    RETURNING id,
              (extract(epoch FROM rate_spent_until - statement_timestamp())
               - 1 + 1.0 / rate_limit)::double precision AS next_start_seconds
), of_endpoints AS (
    UPDATE endpoint_health
       SET rate_spent_until = greatest(rate_spent_until, statement_timestamp())
                              + (SELECT ceil(jobs * 1000000.0 / rate)
                                   FROM at_endpoints WHERE id = endpoint_id)
                                * interval '1 microsecond'
     WHERE endpoint_id = ANY (ARRAY(SELECT id FROM at_endpoints))
    RETURNING endpoint_id,
              extract(epoch FROM rate_spent_until - statement_timestamp())
              - (SELECT greatest(1, 1 / rate) - 1 / rate
                   FROM at_endpoints WHERE id = endpoint_id) AS next_start_seconds
)
SELECT id, next_start_seconds FROM of_queues
 UNION ALL
SELECT endpoint_id, next_start_seconds FROM of_endpoints;
