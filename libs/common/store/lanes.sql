-- name: open_lanes
-- Return the lanes with these names, new ones created; in the order given.  A lane of push
-- jobs comes with another for their retries.  A lane whose queue was deleted comes back.
-- An endpoint that has a lane has its health, too.
-- $1 organization_ids uuid[], $2 queue_names text[], $3 destinations text[]
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY
           AS asked (organization_id, queue_name, destination, place)
), missing AS MATERIALIZED (
    SELECT DISTINCT organization_id, queue_name, destination
      FROM asked
     WHERE NOT EXISTS (
            SELECT FROM lanes
             WHERE lanes.organization_id = asked.organization_id
               AND lanes.queue_name = asked.queue_name
               AND lanes.destination = asked.destination
               AND NOT lanes.retries)
), for_retries AS (
    INSERT INTO lanes (organization_id, queue_name, destination, retries)
    SELECT organization_id, queue_name, destination, true
      FROM missing
     WHERE destination <> ''
     ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    RETURNING id, organization_id, queue_name, destination
), created AS (
    INSERT INTO lanes (organization_id, queue_name, destination, retry_lane_id)
    SELECT organization_id, queue_name, destination, for_retries.id
      FROM missing
      LEFT JOIN for_retries USING (organization_id, queue_name, destination)
     WHERE destination = ''
        OR for_retries.id IS NOT NULL
     ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    RETURNING id, organization_id, queue_name, destination
), watched AS (
    INSERT INTO endpoint_health (endpoint_id)
    SELECT DISTINCT endpoint.id
      FROM asked
     CROSS JOIN LATERAL (
            SELECT id
              FROM endpoints
             WHERE endpoints.id = CASE
                        WHEN starts_with(asked.destination, 'endpoint:')
                        THEN substr(asked.destination, length('endpoint:') + 1)::uuid END
             LIMIT 1
           ) AS endpoint
     WHERE NOT EXISTS (
            SELECT FROM endpoint_health WHERE endpoint_health.endpoint_id = endpoint.id)
     ORDER BY 1
        ON CONFLICT DO NOTHING
), returning_ones AS MATERIALIZED (
    SELECT lanes.ctid AS address
      FROM asked
      JOIN lanes USING (organization_id, queue_name, destination)
     WHERE lanes.retired
     ORDER BY lanes.id
       FOR UPDATE OF lanes
), revived AS (
    UPDATE lanes
       SET retired = false
     WHERE ctid = ANY (ARRAY(SELECT address FROM returning_ones))
)
SELECT coalesce(lanes.id, created.id) AS id
  FROM asked
  LEFT JOIN created USING (organization_id, queue_name, destination)
  LEFT JOIN lanes ON lanes.organization_id = asked.organization_id
                 AND lanes.queue_name = asked.queue_name
                 AND lanes.destination = asked.destination
                 AND NOT lanes.retries
 ORDER BY asked.place;

-- name: find_lanes
-- The lanes with these names that there are.
-- $1 organization_ids uuid[], $2 queue_names text[], $3 destinations text[]
SELECT lane.*
  FROM unnest($1::uuid[], $2::text[], $3::text[])
       AS asked (organization_id, queue_name, destination)
 CROSS JOIN LATERAL (
        SELECT id, organization_id, queue_name, destination
          FROM lanes
         WHERE lanes.organization_id = asked.organization_id
           AND lanes.queue_name = asked.queue_name
           AND lanes.destination = asked.destination
           AND NOT lanes.retries
         LIMIT 1
       ) AS lane;

-- name: read_lanes
-- What these lanes are.
-- $1 ids int[]
SELECT lanes.id, organization_id, queue_name, destination, push, endpoint_id, retries,
       coalesce(organization.weight, 1) AS weight
  FROM lanes
  LEFT JOIN LATERAL (
        SELECT weight FROM organizations WHERE organizations.id = lanes.organization_id
         LIMIT 1
       ) AS organization ON true
 WHERE lanes.id = ANY ($1::int[]);

-- name: ready_of_queue
-- The lanes of a queue in which jobs wait to be begun.  Asked for is the first job of
-- each: any would do, but where most jobs stand in few lanes Postgres would look for it
-- by reading them all.
-- $1 organization_id uuid, $2 queue_name text
SELECT lanes.id, organization_id, queue_name, destination, push
  FROM lanes
 CROSS JOIN LATERAL (
        SELECT ready.job_id
          FROM ready
         WHERE ready.lane_id = lanes.id
         ORDER BY ready.lane_id, ready.rank, ready.ready_at
         LIMIT 1
       ) AS first
 WHERE organization_id = $1
   AND queue_name = $2
 ORDER BY lanes.id;
