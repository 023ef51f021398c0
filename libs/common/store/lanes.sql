-- name: open_lanes
-- Return the lanes with these names, new ones created; in the order given.
-- $1 organization_ids uuid[], $2 queue_names text[], $3 destinations text[]
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY
           AS asked (organization_id, queue_name, destination, place)
), created AS (
    INSERT INTO lanes (organization_id, queue_name, destination)
    SELECT DISTINCT organization_id, queue_name, destination
      FROM asked
     WHERE NOT EXISTS (
            SELECT FROM lanes
             WHERE lanes.organization_id = asked.organization_id
               AND lanes.queue_name = asked.queue_name
               AND lanes.destination = asked.destination)
     ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    RETURNING id, organization_id, queue_name, destination
)
SELECT coalesce(lanes.id, created.id) AS id
  FROM asked
  LEFT JOIN lanes   USING (organization_id, queue_name, destination)
  LEFT JOIN created USING (organization_id, queue_name, destination)
 ORDER BY asked.place;

-- name: read_lanes
-- What these lanes are.
-- $1 ids int[]
SELECT id, organization_id, queue_name, destination, push
  FROM lanes
 WHERE id = ANY ($1::int[]);
