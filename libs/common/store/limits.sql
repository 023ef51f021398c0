-- name: lock_queues
-- Whoever else is about to start jobs of these lanes' queues, or to change them, waits
-- until our transaction ends; in the order of ids, so that a circle cannot close.
-- $1 lanes int[]
SELECT id
  FROM queues
 WHERE id = ANY (ARRAY(
        SELECT queue.id
          FROM unnest($1::int[]) AS asked (lane_id)
         CROSS JOIN LATERAL (
                SELECT organization_id, queue_name
                  FROM lanes
                 WHERE lanes.id = asked.lane_id
                 LIMIT 1
               ) AS lane
         CROSS JOIN LATERAL (
                SELECT id
                  FROM queues
                 WHERE queues.organization_id = lane.organization_id
                   AND queues.name = lane.queue_name
                 LIMIT 1
               ) AS queue))
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: read_rooms
-- How many jobs of each of these lanes' queues may be started now: null is any number.
-- The rate is GCRA's with a burst of one second's worth; the concurrency is what all
-- lanes of the queue have leased, counted no further than the limit.  A statement of its
-- own: its snapshot is younger than the locks, so it sees what the last one started.
-- $1 lanes int[], $2 locked queue ids uuid[]
WITH asked AS MATERIALIZED (
    SELECT asked.lane_id, queue.*
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
     CROSS JOIN LATERAL (
            SELECT id, organization_id, name, rate_limit, concurrency,
                   extract(epoch FROM greatest(rate_spent_until, statement_timestamp())
                                      - statement_timestamp()) AS spent_seconds
              FROM queues
             WHERE queues.organization_id = lane.organization_id
               AND queues.name = lane.queue_name
               AND queues.id = ANY ($2::uuid[])
             LIMIT 1
           ) AS queue
), rooms AS MATERIALIZED (
    SELECT queue.id,
           CASE WHEN queue.rate_limit IS NOT NULL THEN
                greatest(floor((1 - queue.spent_seconds) * queue.rate_limit), 0)::int
           END AS starts,
           (queue.spent_seconds - 1 + 1.0 / queue.rate_limit)::double precision
               AS next_start_seconds,
           queue.concurrency - working.jobs AS places
      FROM (SELECT DISTINCT id, organization_id, name, rate_limit, concurrency,
                            spent_seconds
              FROM asked) AS queue
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
)
SELECT asked.lane_id, asked.id AS queue_id, rooms.starts, rooms.next_start_seconds,
       rooms.places
  FROM asked
  JOIN rooms ON rooms.id = asked.id;

-- name: spend
-- So many jobs of these queues were started: returns in how many seconds the next may
-- be, of the queues that have a rate.  Rounded up, so that the rate is never exceeded.
-- $1 queue ids uuid[], $2 jobs int[]
UPDATE queues
   SET rate_spent_until = greatest(rate_spent_until, statement_timestamp())
                          + ceil(spent.jobs * 1000000.0 / rate_limit)
                            * interval '1 microsecond'
  FROM unnest($1::uuid[], $2::int[]) AS spent (queue_id, jobs)
 WHERE queues.id = spent.queue_id
   AND rate_limit IS NOT NULL
RETURNING id AS queue_id,
          (extract(epoch FROM rate_spent_until - statement_timestamp())
           - 1 + 1.0 / rate_limit)::double precision AS next_start_seconds;
