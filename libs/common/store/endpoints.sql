-- name: create_endpoint
-- A new endpoint, and the row that says how it does.  Nothing is returned when the
-- organization is no more.
-- $1 organization_id uuid, $2 endpoint text (JSON object, by columns)
WITH owner AS (
    UPDATE organizations
       SET endpoints_version = endpoints_version + 1
     WHERE id = $1
       AND erased_at IS NULL
    RETURNING id
), made AS (
    INSERT INTO endpoints (id, organization_id, url, description, event_types, filter,
                           headers, format, enabled, disabled_reason, disabled_at,
                           timeout_seconds, retry, max_retries, rate_limit_per_second,
                           max_concurrency, ordered, signature_scheme, auth, auth_shown,
                           tls, tls_shown, send_traceparent, metadata)
    SELECT new.id, owner.id, new.url, new.description, new.event_types, new.filter,
           new.headers, new.format, new.enabled, new.disabled_reason,
           CASE WHEN NOT new.enabled THEN now() END, new.timeout_seconds, new.retry,
           new.max_retries, new.rate_limit_per_second, new.max_concurrency, new.ordered,
           new.signature_scheme, new.auth, new.auth_shown, new.tls, new.tls_shown,
           new.send_traceparent, new.metadata
      FROM owner
     CROSS JOIN jsonb_populate_record(NULL::endpoints, $2::text::jsonb) AS new
    RETURNING id
), health AS (
    INSERT INTO endpoint_health (endpoint_id) SELECT id FROM made
)
SELECT id FROM made;

-- name: read_endpoint
-- $1 organization_id uuid, $2 id uuid
SELECT *
  FROM endpoints_shown
 WHERE id = $2
   AND organization_id = $1;

-- name: list_endpoints
-- The newest first.
-- $1 organization_id uuid, $2 limit int, $3 offset int
SELECT *
  FROM endpoints_shown
 WHERE organization_id = $1
 ORDER BY id DESC
 LIMIT $2 OFFSET $3;

-- name: count_endpoints
-- How many an organization has, outgoing webhooks with them; and how many of them are enabled.
-- $1 organization_id uuid
SELECT count(*)::int AS all_of_them, (count(*) FILTER (WHERE enabled))::int AS enabled
  FROM endpoints
 WHERE organization_id = $1
   AND deleted_at IS NULL;

-- name: change_endpoint
-- Change the columns that are given; the others stay.  One that is enabled again, or
-- leads elsewhere, begins as healthy.  The caller holds the organization's row, so that
-- nobody else changes any of its endpoints.
-- $1 organization_id uuid, $2 id uuid, $3 columns text (JSON object)
WITH before AS MATERIALIZED (
    SELECT endpoints.id, endpoints.url, endpoints.enabled
      FROM endpoints
     WHERE endpoints.id = $2
       AND organization_id = $1
       AND kind = 'endpoint'
       AND deleted_at IS NULL
       FOR NO KEY UPDATE
), broken AS MATERIALIZED (
    SELECT endpoint_id
      FROM endpoint_health
     WHERE endpoint_id = (SELECT id FROM before)
       AND open_until IS NOT NULL
       FOR NO KEY UPDATE
), changed AS (
    UPDATE endpoints
       SET (url, description, event_types, filter, headers, format, enabled,
            disabled_reason, disabled_at, timeout_seconds, retry, max_retries,
            rate_limit_per_second, max_concurrency, ordered, signature_scheme, auth,
            auth_shown, tls, tls_shown, send_traceparent, metadata, url_version) = (
            SELECT new.url, new.description, new.event_types, new.filter,
                   new.headers, new.format, new.enabled,
                   CASE WHEN NOT new.enabled
                        THEN coalesce(new.disabled_reason, 'manual') END,
                   CASE WHEN NOT new.enabled
                        THEN coalesce(endpoints.disabled_at, now()) END,
                   new.timeout_seconds, new.retry, new.max_retries,
                   new.rate_limit_per_second, new.max_concurrency, new.ordered,
                   new.signature_scheme, new.auth, new.auth_shown, new.tls,
                   new.tls_shown, new.send_traceparent, new.metadata,
                   endpoints.url_version
                   + (new.url <> endpoints.url
                      OR new.enabled AND NOT endpoints.enabled)::int
              FROM jsonb_populate_record(endpoints, $3::text::jsonb) AS new),
           version    = version + 1,
           updated_at = now()
      FROM before
     WHERE endpoints.id = before.id
    RETURNING endpoints.id, endpoints.url, endpoints.enabled, disabled_reason
), owner AS (
    UPDATE organizations
       SET endpoints_version = endpoints_version + 1
      FROM changed
     WHERE organizations.id = $1
), healed AS (
    UPDATE endpoint_health
       SET open_until = NULL, open_seconds = 0, closed_at = now(),
           throttled_until = '-infinity', throttles = 0, consecutive_failures = 0,
           failing_since = NULL
      FROM before
      JOIN changed USING (id)
      LEFT JOIN broken ON broken.endpoint_id = before.id
     WHERE endpoint_health.endpoint_id = before.id
       AND (changed.enabled AND NOT before.enabled OR changed.url <> before.url)
    RETURNING changed.id, changed.url, broken.endpoint_id IS NOT NULL AS was_broken
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, CASE WHEN changed.enabled THEN 'endpoint.enabled'
                    ELSE 'endpoint.disabled' END,
           json_strip_nulls(json_build_object('endpoint_id', id, 'url', changed.url,
                                              'reason', disabled_reason))
      FROM before
      JOIN changed USING (id)
     WHERE changed.enabled <> before.enabled
     UNION ALL
    SELECT $1, 'endpoint.breaker_closed',
           json_build_object('endpoint_id', id, 'url', url)
      FROM healed
     WHERE was_broken
)
SELECT id FROM changed;

-- name: delete_endpoint
-- Gone for everybody, and its secrets at once; the row stays until its open deliveries
-- have been cancelled.  The caller holds the organization's row, as whoever changes
-- an endpoint does.
-- $1 organization_id uuid, $2 id uuid
WITH gone AS (
    UPDATE endpoints
       SET deleted_at = now(), version = version + 1, updated_at = now(),
           auth = NULL, auth_shown = NULL, tls = NULL, tls_shown = NULL
     WHERE id = $2
       AND organization_id = $1
       AND kind = 'endpoint'
       AND deleted_at IS NULL
    RETURNING id
), owner AS (
    UPDATE organizations
       SET endpoints_version = endpoints_version + 1
      FROM gone
     WHERE organizations.id = $1
), secrets AS (
    DELETE FROM endpoint_secrets USING gone WHERE endpoint_id = gone.id
)
SELECT id FROM gone;

-- name: read_subscriptions
-- What decides which endpoints a message goes to, and the version of it; an organization
-- without endpoints comes in a row without one.
-- $1 organization_ids uuid[]
SELECT organizations.id AS organization_id, organizations.endpoints_version,
       wish.id, wish.event_types, wish.filter, wish.format, wish.ordered,
       wish.max_retries
  FROM organizations
  LEFT JOIN endpoints AS wish ON wish.organization_id = organizations.id
                             AND wish.kind = 'endpoint'
                             AND wish.deleted_at IS NULL
 WHERE organizations.id = ANY ($1::uuid[])
   AND organizations.erased_at IS NULL
 ORDER BY organizations.id, wish.id;
