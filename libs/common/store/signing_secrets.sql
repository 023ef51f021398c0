-- name: current_secrets
-- The sealed secrets that sign for these organizations now, newest first.
-- $1 organization_ids uuid[]
SELECT organization_id, sealed, created_at, expires_at
  FROM signing_secrets
 WHERE organization_id = ANY ($1::uuid[])
   AND (expires_at IS NULL OR expires_at > now())
 ORDER BY organization_id, expires_at IS NOT NULL, expires_at DESC;

-- name: replace_secret
-- A new current secret; the one before it signs on for the overlap.
-- $1 id uuid, $2 organization_id uuid, $3 sealed bytea, $4 overlap interval
WITH retired AS (
    UPDATE signing_secrets
       SET expires_at = now() + $4::interval
     WHERE organization_id = $2
       AND expires_at IS NULL
    RETURNING id
)
-- Counting makes the old one retire first: two current ones cannot stand.
INSERT INTO signing_secrets (id, organization_id, sealed)
SELECT $1, $2, $3
  FROM (SELECT count(*) FROM retired) AS done;
