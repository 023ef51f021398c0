-- name: hold_endpoints
-- Let nobody change an endpoint of these organizations until the transaction ends.
-- $1 organization_ids uuid[]
SELECT id
  FROM organizations
 WHERE id = ANY ($1::uuid[])
 ORDER BY id
   FOR SHARE;

-- name: create
-- Let messages in, with their keys.  Only those whose sender knows the endpoints of its
-- organization as they are; nobody changes one until our transaction ends, in which the
-- deliveries are created as well.
-- Returned is for each what became of it: created; taken, when another message has its
-- key (of two in the same call the first wins); stale, when the endpoints have changed;
-- gone, when the organization is no more.
-- Arrays, one element a message: $1 ids uuid, $2 organizations uuid, $3 versions of their
-- endpoints bigint, $4 event types text, $5 payloads text, $6 ordering keys text,
-- $7 idempotency keys text, $8 fingerprints bytea, $9 created_at timestamptz, $10 hops
-- smallint
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[],
                  $6::text[], $7::text[], $8::bytea[], $9::timestamptz[],
                  $10::smallint[])
           WITH ORDINALITY
           AS asked (id, organization_id, version, event_type, payload, ordering_key,
                     idempotency_key, fingerprint, created_at, hops, place)
), current AS MATERIALIZED (
    SELECT id, endpoints_version
      FROM organizations
     WHERE id = ANY ($2::uuid[])
       AND erased_at IS NULL
     ORDER BY id
       FOR SHARE
), fresh AS MATERIALIZED (
    -- A join would be a loop in a loop; this is a look-up each.
    SELECT *
      FROM asked
     WHERE version IS NULL
        OR (organization_id, version) IN (SELECT id, endpoints_version FROM current)
), keyed AS (
    INSERT INTO message_keys (organization_id, key, message_id, fingerprint)
    SELECT organization_id, idempotency_key, id, fingerprint
      FROM (SELECT DISTINCT ON (organization_id, idempotency_key) *
              FROM fresh
             WHERE idempotency_key IS NOT NULL
             ORDER BY organization_id, idempotency_key, place) AS first
     ORDER BY organization_id, idempotency_key
        ON CONFLICT DO NOTHING
    RETURNING message_id
), bodies AS (
    INSERT INTO messages (id, organization_id, event_type, payload, ordering_key,
                          idempotency_key, created_at, hops)
    SELECT id, organization_id, event_type, payload::json, ordering_key,
           idempotency_key, created_at, hops
      FROM fresh
     WHERE idempotency_key IS NULL
        OR id IN (SELECT message_id FROM keyed)
    RETURNING id
)
SELECT id,
       CASE WHEN id IN (SELECT id FROM bodies) THEN 'created'
            WHEN id IN (SELECT id FROM fresh) THEN 'taken'
            WHEN organization_id IN (SELECT id FROM current) THEN 'stale'
            ELSE 'gone' END AS outcome
  FROM asked;

-- name: find_by_keys
-- The messages that hold these idempotency keys, and to how many endpoints each goes.
-- $1 organization_ids uuid[], $2 keys text[]
SELECT known.organization_id, known.key, known.message_id, known.fingerprint,
       (SELECT count(DISTINCT jobs.endpoint_id)
          FROM jobs
         WHERE jobs.message_id = known.message_id)::int AS deliveries
  FROM unnest($1::uuid[], $2::text[]) AS asked (organization_id, key)
  JOIN message_keys AS known USING (organization_id, key);

-- name: read_message
-- $1 organization_id uuid, $2 id uuid
SELECT * FROM messages WHERE id = $2 AND organization_id = $1;

-- name: list_messages
-- Messages of an organization, the newest first, and to how many endpoints each goes.
-- $1 organization_id uuid, $2 event_type text or null, $3 created after timestamptz,
-- $4 created before timestamptz, $5 limit int, $6 offset int
SELECT id, event_type, ordering_key, idempotency_key, created_at,
       (SELECT count(DISTINCT jobs.endpoint_id)
          FROM jobs
         WHERE jobs.message_id = messages.id)::int AS deliveries
  FROM messages
 WHERE organization_id = $1
   AND ($2::text IS NULL OR event_type = $2)
   -- A message is as old as its id.
   AND id >= first_id_at(coalesce($3::timestamptz, '2020-01-01'))
   AND id <  first_id_at(coalesce($4::timestamptz, '9000-01-01'))
 ORDER BY id DESC
 LIMIT $5 OFFSET $6;

-- name: list_messages_of
-- The same of those that went to one endpoint: walks its jobs, by when each message was
-- first sent there.
-- $1 organization_id uuid, $2 event_type text or null, $3 created after timestamptz,
-- $4 created before timestamptz, $5 limit int, $6 offset int, $7 endpoint_id uuid
SELECT message.*,
       (SELECT count(DISTINCT jobs.endpoint_id)
          FROM jobs
         WHERE jobs.message_id = message.id)::int AS deliveries
  FROM jobs AS sent
 CROSS JOIN LATERAL (
        SELECT id, event_type, ordering_key, idempotency_key, created_at
          FROM messages
         WHERE messages.id = sent.message_id
           AND messages.organization_id = $1
           AND ($2::text IS NULL OR event_type = $2)
           AND id >= first_id_at(coalesce($3::timestamptz, '2020-01-01'))
           AND id <  first_id_at(coalesce($4::timestamptz, '9000-01-01'))
         LIMIT 1
       ) AS message
 WHERE sent.endpoint_id = $7
   AND sent.message_id IS NOT NULL
   -- Its delivery is younger; by how much a replay may have waited nobody knows.
   AND sent.id >= first_id_at(coalesce($3::timestamptz, '2020-01-01') - interval '1 hour')
   AND NOT EXISTS (
        SELECT FROM jobs AS earlier
         WHERE earlier.message_id = sent.message_id
           AND earlier.endpoint_id = $7
           AND earlier.id < sent.id)
 ORDER BY sent.id DESC
 LIMIT $5 OFFSET $6;

-- name: list_deliveries
-- What became of a message, job by job in the order in which they were created.
-- $1 message_id uuid, $2 limit int
SELECT body.id AS job_id, body.endpoint_id, endpoint.url,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       standing.attempt, standing.run_at, standing.settled_at,
       latest.status_code, coalesce(latest.error, standing.last_error) AS last_error
  FROM jobs AS body
 CROSS JOIN LATERAL (
        SELECT * FROM places WHERE places.job_id = body.id LIMIT 1
       ) AS standing
  LEFT JOIN LATERAL (
        SELECT url FROM endpoints WHERE endpoints.id = body.endpoint_id LIMIT 1
       ) AS endpoint ON true
  LEFT JOIN LATERAL (
        SELECT status_code, error
          FROM attempts
         WHERE attempts.job_id = body.id
         ORDER BY attempt DESC
         LIMIT 1
       ) AS latest ON true
 WHERE body.message_id = $1
 ORDER BY body.id
 LIMIT $2;
