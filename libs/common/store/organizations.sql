-- name: create_organization
-- $1 id uuid, $2 name text, $3 slug text, $4 billing_email text, $5 plan_tier text
INSERT INTO organizations (id, name, slug, billing_email, plan_tier)
VALUES ($1, $2, $3, $4, $5)
RETURNING *;

-- name: count_organizations
SELECT count(*)::int FROM organizations;

-- name: read_organization
-- $1 id uuid
SELECT * FROM organizations WHERE id = $1;
