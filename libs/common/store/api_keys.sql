-- name: create_key
-- $1 id uuid, $2 organization_id uuid, $3 key_sha256 bytea, $4 name text,
-- $5 queues text[], $6 rate_limit int, $7 expires_at timestamptz
INSERT INTO api_keys (id, organization_id, key_sha256, name, queues, rate_limit, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING *;

-- name: find_key
-- Whose key has this hash, and what is theirs.
-- $1 key_sha256 bytea
SELECT api_keys.*, organizations.plan_tier, organizations.custom_limits
  FROM api_keys
  JOIN organizations ON organizations.id = api_keys.organization_id
 WHERE key_sha256 = $1;

-- name: find_keys
-- The same of many.
-- $1 key_sha256 bytea[]
SELECT api_keys.*, organizations.plan_tier, organizations.custom_limits
  FROM api_keys
  JOIN organizations ON organizations.id = api_keys.organization_id
 WHERE key_sha256 = ANY ($1::bytea[]);

-- name: list_keys
-- $1 organization_id uuid, $2 limit int, $3 offset int
SELECT *
  FROM api_keys
 WHERE organization_id = $1
 ORDER BY created_at DESC, id DESC
 LIMIT $2 OFFSET $3;

-- name: list_active
-- The keys that open something now, oldest first.
-- $1 organization_id uuid, $2 limit int, $3 offset int
SELECT *
  FROM api_keys
 WHERE organization_id = $1
   AND is_active
   AND (expires_at IS NULL OR expires_at > now())
 ORDER BY created_at, id
 LIMIT $2 OFFSET $3;

-- name: count_active
-- How many keys open something now.
-- $1 organization_id uuid
SELECT count(*)::int
  FROM api_keys
 WHERE organization_id = $1
   AND is_active
   AND (expires_at IS NULL OR expires_at > now());

-- name: read_key
-- $1 organization_id uuid, $2 id uuid
SELECT * FROM api_keys WHERE organization_id = $1 AND id = $2;

-- name: change_key
-- Null keeps what is there; of the rate null takes it away when $7 says so.
-- $1 organization_id uuid, $2 id uuid, $3 name text, $4 queues text[], $5 rate_limit
-- int, $6 is_active boolean, $7 without a rate boolean
UPDATE api_keys
   SET name       = coalesce($3, name),
       queues     = coalesce($4, queues),
       rate_limit = CASE WHEN $7::boolean THEN NULL ELSE coalesce($5, rate_limit) END,
       is_active  = coalesce($6, is_active)
 WHERE organization_id = $1
   AND id = $2
RETURNING *;

-- name: note_used
-- When keys were last seen, to the few minutes.
-- $1 ids uuid[], in order
UPDATE api_keys
   SET last_used_at = now()
 WHERE id = ANY ($1::uuid[]);
