-- name: put_secret
-- What signs for an endpoint from now on.  Whatever signed before signs on for the
-- overlap, and not longer than it would have; what is over is forgotten.
-- $1 id uuid, $2 endpoint_id uuid, $3 scheme text, $4 sealed bytea, $5 public_key text,
-- $6 overlap interval
WITH forgotten AS (
    DELETE FROM endpoint_secrets
     WHERE endpoint_id = $2
       AND (expires_at <= now() OR $6 = interval '0')
    RETURNING id
), retired AS (
    UPDATE endpoint_secrets
       SET expires_at = least(expires_at, now() + $6::interval)
     WHERE endpoint_id = $2
       AND (expires_at IS NULL OR expires_at > now())
       AND $6 <> interval '0'
    RETURNING id
)
-- Counting makes the old one retire first: two current ones cannot stand.
INSERT INTO endpoint_secrets (id, endpoint_id, scheme, sealed, public_key)
SELECT $1, $2, $3, $4, $5
  FROM (SELECT count(*) FROM forgotten) AS one
 CROSS JOIN (SELECT count(*) FROM retired) AS other;

-- name: remove_secrets
-- Nothing signs for an endpoint any more.
-- $1 endpoint_id uuid
DELETE FROM endpoint_secrets WHERE endpoint_id = $1;

-- name: list_secrets
-- What signs for an endpoint now, the current one first: without the secrets.
-- $1 endpoint_id uuid
SELECT id, scheme, public_key, created_at, expires_at
  FROM endpoint_secrets
 WHERE endpoint_id = $1
   AND (expires_at IS NULL OR expires_at > now())
 ORDER BY expires_at DESC NULLS FIRST;
