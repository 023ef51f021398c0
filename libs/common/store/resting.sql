-- name: lanes_at_rest
-- The lanes with ready jobs of endpoints that are disabled or gone, among the next so many
-- lanes with ready jobs, in order (see `ready_lanes`); and the last lane that was looked
-- at, in a row of its own, when there may be others behind it.
-- $1 after which lane int, $2 limit int
WITH RECURSIVE walk AS (
    (SELECT lane_id, 1 AS step
       FROM ready
      WHERE lane_id > $1
      ORDER BY lane_id
      LIMIT 1)
    UNION ALL
    SELECT following.lane_id, walk.step + 1
      FROM walk
     CROSS JOIN LATERAL (
            SELECT lane_id
              FROM ready
             WHERE ready.lane_id > walk.lane_id
             ORDER BY lane_id
             LIMIT 1
           ) AS following
     WHERE walk.step < $2
)
SELECT walk.lane_id, endpoint.id IS NULL AS gone, NULL::int AS last
  FROM walk
 CROSS JOIN LATERAL (
        SELECT endpoint_id FROM lanes WHERE lanes.id = walk.lane_id LIMIT 1
       ) AS lane
  LEFT JOIN LATERAL (
        SELECT id, enabled
          FROM endpoints
         WHERE endpoints.id = lane.endpoint_id
           AND deleted_at IS NULL
         LIMIT 1
       ) AS endpoint ON true
 WHERE lane.endpoint_id IS NOT NULL
   AND endpoint.enabled IS NOT true
 UNION ALL
SELECT NULL, NULL, lane_id FROM walk WHERE step = $2;

-- name: hold
-- ready → held: up to so many jobs of each of these lanes, the most urgent and longest
-- ready first, because their endpoint is disabled.
-- $1 lanes int[], $2 limit int
WITH asked AS MATERIALIZED (
    SELECT asked.lane_id, 'its endpoint is disabled: ' || disabled_reason AS reason
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT endpoint_id FROM lanes WHERE lanes.id = asked.lane_id LIMIT 1
           ) AS lane
     CROSS JOIN LATERAL (
            SELECT disabled_reason
              FROM endpoints
             WHERE endpoints.id = lane.endpoint_id
               AND NOT enabled
               AND deleted_at IS NULL
             LIMIT 1
           ) AS endpoint
), picked AS MATERIALIZED (
    SELECT first.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM ready
             WHERE ready.lane_id = asked.lane_id
             ORDER BY rank, ready_at, job_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS first
), taken AS (
    -- No join: see `claim`.
    DELETE FROM ready
     WHERE ctid = ANY (ARRAY(SELECT address FROM picked))
    RETURNING ready.*, (SELECT reason FROM asked
                         WHERE asked.lane_id = ready.lane_id) AS reason
), into_held AS (
    INSERT INTO held (job_id, lane_id, rank, attempt, retry_count, crash_count, reason,
                      at_rest)
    SELECT job_id, lane_id, rank, attempt, retry_count, crash_count, reason, true
      FROM taken
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT job_id, lane_id, 'held', rank, attempt,
           json_build_object('retry_count', retry_count, 'reason', reason)
      FROM taken
)
SELECT job_id FROM taken;

-- name: lanes_to_wake
-- The lanes with jobs that are held for their endpoint's sake, of endpoints that are not
-- disabled any more, or gone; the same way.
-- $1 after which lane int, $2 limit int
WITH RECURSIVE walk AS (
    (SELECT lane_id, 1 AS step
       FROM held
      WHERE lane_id > $1
        AND at_rest
      ORDER BY lane_id
      LIMIT 1)
    UNION ALL
    SELECT following.lane_id, walk.step + 1
      FROM walk
     CROSS JOIN LATERAL (
            SELECT lane_id
              FROM held
             WHERE held.lane_id > walk.lane_id
               AND at_rest
             ORDER BY lane_id
             LIMIT 1
           ) AS following
     WHERE walk.step < $2
)
SELECT walk.lane_id, endpoint.id IS NULL AS gone, NULL::int AS last
  FROM walk
 CROSS JOIN LATERAL (
        SELECT endpoint_id FROM lanes WHERE lanes.id = walk.lane_id LIMIT 1
       ) AS lane
  LEFT JOIN LATERAL (
        SELECT id, enabled
          FROM endpoints
         WHERE endpoints.id = lane.endpoint_id
           AND deleted_at IS NULL
         LIMIT 1
       ) AS endpoint ON true
 WHERE endpoint.enabled IS NOT false
 UNION ALL
SELECT NULL, NULL, lane_id FROM walk WHERE step = $2;

-- name: wake
-- held → ready (unblocked): up to so many jobs of each of these lanes that were held
-- because their endpoint was disabled, the oldest first, if it is not any more.  Whose
-- turn has not come is held for that, and stays.
-- $1 lanes int[], $2 limit int
WITH asked AS MATERIALIZED (
    SELECT asked.lane_id
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT endpoint_id FROM lanes WHERE lanes.id = asked.lane_id LIMIT 1
           ) AS lane
     CROSS JOIN LATERAL (
            SELECT
              FROM endpoints
             WHERE endpoints.id = lane.endpoint_id
               AND enabled
               AND deleted_at IS NULL
             LIMIT 1
           ) AS endpoint
), picked AS MATERIALIZED (
    SELECT first.address
      FROM asked
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM held
             WHERE held.lane_id = asked.lane_id
               AND at_rest
             ORDER BY job_id
             LIMIT $2
               FOR UPDATE SKIP LOCKED
           ) AS first
), taken AS (
    -- No join: see `claim`.
    DELETE FROM held
     WHERE ctid = ANY (ARRAY(SELECT address FROM picked))
    RETURNING held.*
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt, retry_count, crash_count
      FROM taken
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt)
    SELECT job_id, lane_id, 'unblocked', rank, attempt
      FROM taken
)
SELECT lane_id, count(*)::int AS jobs FROM taken GROUP BY lane_id;

-- name: deleted_endpoints
-- Endpoints that were deleted, the longest ago first, with their lanes.
-- $1 limit int
SELECT gone.id, ARRAY(SELECT lanes.id
                        FROM lanes
                       WHERE lanes.endpoint_id = gone.id
                       ORDER BY lanes.id) AS lanes
  FROM (SELECT id
          FROM endpoints
         WHERE deleted_at IS NOT NULL
         ORDER BY deleted_at, id
         LIMIT $1) AS gone;

-- name: remove_endpoint
-- A deleted endpoint is no more, with all that hangs on its row, if no job stands in its
-- lanes that is not over.  Returned is whether it was so.
-- $1 endpoint_id uuid
DELETE FROM endpoints
 WHERE id = $1
   AND deleted_at IS NOT NULL
   AND NOT EXISTS (
        SELECT
          FROM lanes
         CROSS JOIN LATERAL (
                (SELECT FROM ready     WHERE ready.lane_id = lanes.id LIMIT 1)
                UNION ALL
                (SELECT FROM leased    WHERE leased.lane_id = lanes.id LIMIT 1)
                UNION ALL
                (SELECT FROM scheduled WHERE scheduled.lane_id = lanes.id LIMIT 1)
                UNION ALL
                (SELECT FROM waiting   WHERE waiting.lane_id = lanes.id LIMIT 1)
                UNION ALL
                (SELECT FROM held      WHERE held.lane_id = lanes.id LIMIT 1)
               ) AS open
         WHERE lanes.endpoint_id = $1)
RETURNING id;
