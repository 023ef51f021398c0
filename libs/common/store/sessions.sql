-- name: create_session
-- $1 id uuid, $2 organization_id uuid, $3 api_key_id uuid, $4 email text,
-- $5 how long interval
INSERT INTO sessions (id, organization_id, api_key_id, email, expires_at)
VALUES ($1, $2, $3, $4, now() + $5::interval);

-- name: find_session
-- Whose session it is, in the shape of a key, and whether both still stand: what is
-- gone is null.
-- $1 id uuid, $2 api_key_id uuid
SELECT api_keys.*,
       organizations.plan_tier,
       organizations.custom_limits,
       sessions.id         AS session_id,
       sessions.email,
       sessions.revoked_at IS NOT NULL OR sessions.expires_at <= now() AS has_ended
  FROM (VALUES ($1::uuid, $2::uuid)) AS token (session_id, api_key_id)
  LEFT JOIN api_keys      ON api_keys.id = token.api_key_id
  LEFT JOIN organizations ON organizations.id = api_keys.organization_id
  LEFT JOIN sessions      ON sessions.id = token.session_id
                         AND sessions.api_key_id = token.api_key_id;

-- name: find_sessions
-- The same of many, in their order.
-- $1 ids uuid[], $2 api_key_ids uuid[]
SELECT api_keys.*,
       organizations.plan_tier,
       organizations.custom_limits,
       sessions.id         AS session_id,
       sessions.email,
       sessions.revoked_at IS NOT NULL OR sessions.expires_at <= now() AS has_ended
  FROM unnest($1::uuid[], $2::uuid[])
       WITH ORDINALITY AS token (session_id, api_key_id, place)
  LEFT JOIN api_keys      ON api_keys.id = token.api_key_id
  LEFT JOIN organizations ON organizations.id = api_keys.organization_id
  LEFT JOIN sessions      ON sessions.id = token.session_id
                         AND sessions.api_key_id = token.api_key_id
 ORDER BY token.place;

-- name: end_sessions
-- Signs out: every token of these sessions is void.
-- $1 organization_id uuid, $2 ids uuid[]
UPDATE sessions
   SET revoked_at = now()
 WHERE id = ANY ($2::uuid[])
   AND organization_id = $1
   AND revoked_at IS NULL;

-- name: forget_sessions
-- Deletes sessions that are over; whoever asks again does not find them.
-- $1 at most int
DELETE FROM sessions
 WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1));
