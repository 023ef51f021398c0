-- name: create_organization
-- $1 id uuid, $2 name text, $3 slug text, $4 billing_email text, $5 plan_tier text
INSERT INTO organizations (id, name, slug, billing_email, plan_tier)
VALUES ($1, $2, $3, $4, $5)
RETURNING *;

-- name: count_organizations
SELECT count(*)::int FROM organizations;

-- name: read_organization
-- $1 id uuid
SELECT * FROM organizations WHERE id = $1 AND erased_at IS NULL;

-- name: lock_organization
-- Let nobody else count and add to what this organization has, until the transaction
-- ends.
-- $1 id uuid
SELECT id FROM organizations WHERE id = $1 AND erased_at IS NULL FOR NO KEY UPDATE;

-- name: change_organization
-- Null keeps what is there.  Settings are replaced, but keep the webhook token.
-- $1 id uuid, $2 name text, $3 billing_email text, $4 settings text (JSON object)
UPDATE organizations
   SET name          = coalesce($2, name),
       billing_email = coalesce($3, billing_email),
       settings      = CASE
                           WHEN $4::text IS NULL THEN settings
                           ELSE ($4::text::jsonb - 'webhook_token')
                                || CASE WHEN settings ? 'webhook_token'
                                        THEN jsonb_build_object(
                                            'webhook_token', settings -> 'webhook_token')
                                        ELSE '{}' END
                       END,
       updated_at    = now()
 WHERE id = $1
   AND erased_at IS NULL
RETURNING *;

-- name: change_account
-- What only the administrator changes.  A null tier or weight keeps what is there; the
-- others are changed when the array names them, to null as well.
-- $1 id uuid, $2 plan_tier text, $3 custom_limits text (JSON object or null),
-- $4 stripe_customer_id text, $5 stripe_subscription_id text, $6 columns that are given
-- text[], $7 weight smallint
UPDATE organizations
   SET plan_tier              = coalesce($2, plan_tier),
       weight                 = coalesce($7, weight),
       custom_limits          = CASE WHEN 'custom_limits' = ANY ($6::text[])
                                     THEN $3::text::jsonb ELSE custom_limits END,
       stripe_customer_id     = CASE WHEN 'stripe_customer_id' = ANY ($6::text[])
                                     THEN $4 ELSE stripe_customer_id END,
       stripe_subscription_id = CASE WHEN 'stripe_subscription_id' = ANY ($6::text[])
                                     THEN $5 ELSE stripe_subscription_id END,
       updated_at             = now()
 WHERE id = $1
   AND erased_at IS NULL
RETURNING *;

-- name: put_webhook_token
-- Set the token that incoming webhooks must show; null takes it away.
-- $1 id uuid, $2 token text
UPDATE organizations
   SET settings   = CASE WHEN $2::text IS NULL THEN settings - 'webhook_token'
                         ELSE settings || jsonb_build_object('webhook_token', $2::text)
                    END,
       updated_at = now()
 WHERE id = $1
   AND erased_at IS NULL
RETURNING id;

-- name: taken_slugs
-- Which of these slugs somebody has.
-- $1 slugs text[]
SELECT slug FROM organizations WHERE slug = ANY ($1::text[]);

-- name: is_in_use
-- Whether an organization has jobs that are not over, not counting what only tells of
-- jobs, and workers that live.
-- $1 id uuid
SELECT EXISTS (
           SELECT FROM lanes
            CROSS JOIN LATERAL (
                   (SELECT FROM ready     WHERE ready.lane_id = lanes.id LIMIT 1)
                   UNION ALL
                   (SELECT FROM leased    WHERE leased.lane_id = lanes.id LIMIT 1)
                   UNION ALL
                   (SELECT FROM scheduled WHERE scheduled.lane_id = lanes.id LIMIT 1)
                   UNION ALL
                   (SELECT FROM waiting   WHERE waiting.lane_id = lanes.id LIMIT 1)
                   UNION ALL
                   (SELECT FROM held      WHERE held.lane_id = lanes.id LIMIT 1)
                  ) AS open
            WHERE lanes.organization_id = $1
              AND NOT lanes.telling
       ) AS by_jobs,
       EXISTS (
           SELECT FROM workers
            WHERE workers.organization_id = $1
              AND workers.status <> 'offline'
       ) AS by_workers;

-- name: close_organization
-- Nobody acts for it any more: its tier says so, its keys are revoked.  Its address is
-- free: whose it is may sign up again.
-- $1 id uuid
WITH closed AS (
    UPDATE organizations
       SET plan_tier     = 'deleted',
           billing_email = NULL,
           updated_at    = now()
     WHERE id = $1
       AND erased_at IS NULL
    RETURNING id
), revoked AS (
    UPDATE api_keys
       SET is_active = false
      FROM closed
     WHERE api_keys.organization_id = closed.id
       AND api_keys.is_active
)
SELECT id FROM closed;

-- name: give_up
-- Let an organization be erased: it is closed, its names are free, and nobody sees it.
-- What it has is deleted bit by bit (`erasures`).
-- $1 id uuid
WITH husk AS (
    UPDATE organizations
       SET plan_tier              = 'deleted',
           name                   = '',
           slug                   = 'erased-' || id,
           billing_email          = NULL,
           settings               = '{}',
           custom_limits          = NULL,
           stripe_customer_id     = NULL,
           stripe_subscription_id = NULL,
           updated_at             = now(),
           erased_at              = now()
     WHERE id = $1
       AND erased_at IS NULL
    RETURNING id
), revoked AS (
    UPDATE api_keys
       SET is_active = false
      FROM husk
     WHERE api_keys.organization_id = husk.id
       AND api_keys.is_active
)
SELECT id FROM husk;

-- name: list_organizations
-- A page of organizations, for the administrator; closed ones only when asked for.
-- $1 plan_tier text or null, $2 search text or null (lower case), $3 sort by text,
-- $4 descending boolean, $5 limit int, $6 offset int
SELECT organizations.*
  FROM organizations
 CROSS JOIN LATERAL (
        SELECT CASE $3::text
                   WHEN 'name'       THEN lower(name)
                   WHEN 'slug'       THEN slug
                   WHEN 'plan_tier'  THEN plan_tier
                   WHEN 'updated_at' THEN to_char(updated_at, 'YYYYMMDDHH24MISSUS')
                   ELSE to_char(created_at, 'YYYYMMDDHH24MISSUS')
               END AS key
       ) AS sorting
 WHERE erased_at IS NULL
   AND ($1::text IS NULL AND plan_tier <> 'deleted' OR plan_tier = $1)
   AND ($2::text IS NULL
        OR strpos(lower(name), $2) > 0
        OR strpos(slug, $2) > 0
        OR strpos(lower(billing_email), $2) > 0
        OR starts_with(id::text, $2))
 ORDER BY CASE WHEN NOT $4::boolean THEN sorting.key END,
          CASE WHEN $4::boolean THEN sorting.key END DESC,
          id
 LIMIT $5 OFFSET $6;

-- name: count_listed
-- How many organizations there are to list; $1 and $2 as in list_organizations.
SELECT count(*)::int
  FROM organizations
 WHERE erased_at IS NULL
   AND ($1::text IS NULL AND plan_tier <> 'deleted' OR plan_tier = $1)
   AND ($2::text IS NULL
        OR strpos(lower(name), $2) > 0
        OR strpos(slug, $2) > 0
        OR strpos(lower(billing_email), $2) > 0
        OR starts_with(id::text, $2));
