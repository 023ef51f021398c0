-- name: read_recipient
-- To whom somebody sends, and how they prove it: one row a source, or one without any.
-- $1 organization_id uuid
SELECT organizations.id AS organization_id, organizations.plan_tier,
       organizations.custom_limits,
       organizations.settings ->> 'webhook_token' AS webhook_token,
       sources.provider, sources.sealed, sources.previous_sealed, sources.previous_until,
       sources.enabled, sources.queue_name, sources.as_message, sources.switched_at
  FROM organizations
  LEFT JOIN incoming_sources AS sources ON sources.organization_id = organizations.id
 WHERE organizations.id = $1
   AND organizations.erased_at IS NULL;

-- name: list_sources
-- Whose deliveries an organization takes.
-- $1 organization_id uuid
SELECT * FROM incoming_sources WHERE organization_id = $1 ORDER BY provider;

-- name: lock_source
-- One of them, which nobody else changes until the transaction ends.
-- $1 organization_id uuid, $2 provider text
SELECT *
  FROM incoming_sources
 WHERE organization_id = $1
   AND provider = $2
   FOR UPDATE;

-- name: put_source
-- One of them as it is to be, new or not.
-- $1 organization_id uuid, $2 provider text, $3 sealed bytea, $4 previous_sealed bytea,
-- $5 previous_until timestamptz, $6 enabled boolean, $7 queue_name text, $8 as_message
-- boolean
INSERT INTO incoming_sources AS sources
       (organization_id, provider, sealed, previous_sealed, previous_until, enabled,
        queue_name, as_message)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (organization_id, provider) DO UPDATE
   SET sealed          = excluded.sealed,
       previous_sealed = excluded.previous_sealed,
       previous_until  = excluded.previous_until,
       enabled         = excluded.enabled,
       queue_name      = excluded.queue_name,
       as_message      = excluded.as_message,
       switched_at     = CASE WHEN sources.as_message <> excluded.as_message
                              THEN now() ELSE sources.switched_at END,
       updated_at      = now()
RETURNING *;

-- name: delete_source
-- $1 organization_id uuid, $2 provider text
DELETE FROM incoming_sources
 WHERE organization_id = $1
   AND provider = $2
RETURNING provider;

-- name: forget_secrets
-- Those that were good for an overlap that is over.
UPDATE incoming_sources
   SET previous_sealed = NULL,
       previous_until  = NULL
 WHERE previous_until < now();

-- name: note_created
-- Log deliveries in the transaction that creates their jobs or messages.
-- Arrays, one element a delivery: $1 ids uuid, $2 organizations uuid, $3 providers text,
-- $4 event types text, $5 delivery ids text, $6 queues text, $7 jobs uuid, $8 messages
-- uuid
INSERT INTO incoming_deliveries
       (id, organization_id, provider, event_type, delivery_id, matched_queue, job_id,
        message_id, status)
SELECT *, 'created'
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
              $7::uuid[], $8::uuid[]);

-- name: note_repeated
-- Log deliveries of what is there already: its job may stand in another queue than it
-- would go into now.
-- Parameters as in note_created.
INSERT INTO incoming_deliveries
       (id, organization_id, provider, event_type, delivery_id, matched_queue, job_id,
        message_id, status)
SELECT asked.id, asked.organization_id, asked.provider, asked.event_type,
       asked.delivery_id, coalesce(held.queue_name, asked.queue_name), asked.job_id,
       asked.message_id, 'duplicate'
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
              $7::uuid[], $8::uuid[])
       AS asked (id, organization_id, provider, event_type, delivery_id, queue_name,
                 job_id, message_id)
  LEFT JOIN LATERAL (
        SELECT jobs.queue_name
          FROM jobs
         WHERE jobs.id = asked.job_id
         LIMIT 1) AS held ON true
RETURNING id, matched_queue;

-- name: list_deliveries
-- A page of what came in, the latest first; null does not filter.
-- $1 organization_id uuid, $2 status text, $3 since timestamptz (inclusive), $4 queue
-- text, $5 limit int, $6 offset int
SELECT *
  FROM incoming_deliveries
 WHERE organization_id = $1
   AND ($2::text IS NULL OR status = $2)
   AND ($3::timestamptz IS NULL OR created_at >= $3)
   AND ($4::text IS NULL OR matched_queue = $4)
 ORDER BY created_at DESC, id DESC
 LIMIT $5 OFFSET $6;

-- name: forget_deliveries
-- What came in longer ago than $1; ids begin with their moment.
-- $1 age interval, $2 limit int
DELETE FROM incoming_deliveries
 WHERE id = ANY (ARRAY(
        SELECT id
          FROM incoming_deliveries
         WHERE id < first_id_at(now() - $1::interval)
         ORDER BY id
         LIMIT $2
           FOR UPDATE SKIP LOCKED))
RETURNING id;

-- name: erase_deliveries
-- What came in for an organization that is to be gone.
-- $1 organization_id uuid, $2 limit int
DELETE FROM incoming_deliveries
 WHERE id = ANY (ARRAY(
        SELECT id
          FROM incoming_deliveries
         WHERE organization_id = $1
         ORDER BY created_at, id
         LIMIT $2
           FOR UPDATE SKIP LOCKED))
RETURNING id;
