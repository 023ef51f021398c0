-- name: create_replay
-- A replay of what was created from one moment up to another, which is not after now.
-- Nothing is returned when the endpoint is not there, or has one running.  There is an end
-- to counting: one more than $10 says that there are more.
-- $1 id uuid, $2 organization_id uuid, $3 endpoint_id uuid, $4 since timestamptz, $5 until
-- timestamptz or null for now, $6 status text, $7 filter text (JSON) or null, $8 rate per
-- second double precision, $9 actor text, $10 counted at most int
WITH span AS MATERIALIZED (
    SELECT first_id_at($4) AS first, first_id_at(least($5, now())) AS last,
           least($5, now()) AS until
), total AS (
    SELECT CASE WHEN $6 = 'failed' THEN (
                SELECT count(*)
                  FROM (SELECT
                          FROM lanes
                         CROSS JOIN LATERAL (
                                SELECT
                                  FROM dead
                                 WHERE dead.lane_id = lanes.id
                                   AND dead.job_id >= span.first
                                   AND dead.job_id < span.last
                               ) AS letter
                         WHERE lanes.endpoint_id = $3
                         LIMIT $10::int + 1) AS counted)
           ELSE (
                SELECT count(*)
                  FROM (SELECT
                          FROM messages
                         WHERE organization_id = $2
                           AND id >= span.first
                           AND id < span.last
                         LIMIT $10::int + 1) AS counted)
           END::int AS total
      FROM span
)
INSERT INTO replays (id, organization_id, endpoint_id, since, until, status, filter,
                     rate_per_second, total, actor)
SELECT $1, $2, endpoints.id, $4, span.until, $6, $7::text::jsonb, $8,
       CASE WHEN total.total <= $10 THEN total.total END, $9
  FROM span
 CROSS JOIN total
  JOIN endpoints ON endpoints.id = $3
                AND endpoints.organization_id = $2
                AND endpoints.kind = 'endpoint'
                AND endpoints.deleted_at IS NULL
    ON CONFLICT DO NOTHING
RETURNING *;

-- name: read_replay
-- $1 organization_id uuid, $2 id uuid
SELECT * FROM replays WHERE id = $2 AND organization_id = $1;

-- name: list_replays
-- The replays of an endpoint, the newest first.
-- $1 organization_id uuid, $2 endpoint_id uuid, $3 limit int, $4 offset int
SELECT *
  FROM replays
 WHERE endpoint_id = $2
   AND organization_id = $1
 ORDER BY id DESC
 LIMIT $3 OFFSET $4;

-- name: cancel_replay
-- What was sent again stays sent.  Nothing is returned when it is over, or not there.
-- $1 organization_id uuid, $2 id uuid
UPDATE replays
   SET state = 'cancelled', finished_at = now()
 WHERE id = $2
   AND organization_id = $1
   AND state = 'running'
RETURNING *;

-- name: take_replay
-- The replay that may go on for the longest time, for whoever goes on with it in this
-- transaction; with its endpoint, and the plan of its organization.
SELECT replays.*, endpoints.event_types, endpoints.filter AS endpoint_filter,
       endpoints.format, endpoints.ordered, endpoints.max_retries,
       endpoints.deleted_at IS NOT NULL AS deleted,
       organizations.plan_tier, organizations.custom_limits::text AS custom_limits
  FROM replays
  JOIN endpoints ON endpoints.id = replays.endpoint_id
  JOIN organizations ON organizations.id = replays.organization_id
 WHERE replays.state = 'running'
   AND replays.next_at <= now()
 ORDER BY replays.next_at, replays.id
 LIMIT 1
   FOR UPDATE OF replays SKIP LOCKED;

-- name: next_failed
-- The next dead letters of a replay's endpoint, oldest first.
-- $1 endpoint_id uuid, $2 since timestamptz, $3 until timestamptz, $4 after job_id uuid,
-- $5 limit int, $6 with payload boolean
SELECT letter.job_id AS id,
       CASE WHEN $6 THEN coalesce(body.payload, (SELECT payload FROM messages
                                                  WHERE messages.id = body.message_id))
       END::text AS payload
  FROM (SELECT first.job_id
          FROM lanes
         CROSS JOIN LATERAL (
                SELECT job_id
                  FROM dead
                 WHERE dead.lane_id = lanes.id
                   AND job_id > $4
                   AND job_id >= first_id_at($2)
                   AND job_id < first_id_at($3)
                 ORDER BY job_id
                 LIMIT $5
               ) AS first
         WHERE lanes.endpoint_id = $1
         ORDER BY first.job_id
         LIMIT $5) AS letter
 CROSS JOIN LATERAL (
        SELECT payload, message_id FROM jobs WHERE jobs.id = letter.job_id LIMIT 1
       ) AS body
 ORDER BY letter.job_id;

-- name: next_messages
-- The next messages that a replay looks at, oldest first; with how the endpoint's youngest
-- delivery of each stands (null: it never had one), and its job if that is dead.
-- $1 organization_id uuid, $2 since timestamptz, $3 until timestamptz, $4 after message_id
-- uuid, $5 limit int, $6 with payload boolean, $7 endpoint_id uuid
SELECT next.id, next.event_type, next.ordering_key, next.hops,
       CASE WHEN $6 THEN next.payload END::text AS payload,
       youngest.place, youngest.job_id
  FROM (SELECT id, event_type, ordering_key, hops, payload
          FROM messages
         WHERE organization_id = $1
           AND id > $4
           AND id >= first_id_at($2)
           AND id < first_id_at($3)
         ORDER BY id
         LIMIT $5
           -- Nobody takes them away before they are sent again.
           FOR KEY SHARE) AS next
  LEFT JOIN LATERAL (
        SELECT standing.place, standing.job_id
          FROM jobs
         CROSS JOIN LATERAL (
                SELECT place, job_id FROM places WHERE places.job_id = jobs.id LIMIT 1
               ) AS standing
         WHERE jobs.message_id = next.id
           AND jobs.endpoint_id = $7
         ORDER BY jobs.id DESC
         LIMIT 1
       ) AS youngest ON true
 ORDER BY next.id;

-- name: find_lane
-- Where deliveries that are repeated wait: beside a lane, out of the way of what is new.
-- $1 lane int
SELECT coalesce(retry_lane_id, id) FROM lanes WHERE id = $1;

-- name: advance
-- Remember how far a replay came, and when it may go on.
-- $1 id uuid, $2 reached uuid or null, $3 examined int, $4 replayed int, $5 pause double
-- precision (s), $6 state text
UPDATE replays
   SET reached     = coalesce($2, reached),
       examined    = examined + $3,
       replayed    = replayed + $4,
       next_at     = now() + $5 * interval '1 second',
       state       = $6,
       finished_at = CASE WHEN $6 <> 'running' THEN now() END
 WHERE id = $1;

-- name: forget_replays
-- Replays that are over and began longer ago than $1.
-- $1 age interval, $2 limit int
DELETE FROM replays
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM replays
         WHERE id < first_id_at(now() - $1::interval)
           AND state <> 'running'
         ORDER BY id
         LIMIT $2
           FOR UPDATE SKIP LOCKED));
