-- name: create_webhook
-- Messages do not go to it: `organizations.endpoints_version` stays.
-- $1 id uuid, $2 organization_id uuid, $3 name text, $4 url text, $5 events text[], $6
-- format text, $7 enabled boolean, $8 why not text, $9 timeout real (s), $10 retry
-- policy text (JSON), $11 max_retries smallint, $12 max_concurrency int
WITH created AS (
    INSERT INTO endpoints (id, organization_id, kind, name, url, event_types, format,
                           enabled, disabled_reason, disabled_at, timeout_seconds,
                           retry, max_retries, max_concurrency, signature_scheme)
    VALUES ($1, $2, 'outgoing', $3, $4, $5, $6, $7, CASE WHEN NOT $7 THEN $8 END,
            CASE WHEN NOT $7 THEN now() END, $9, $10::text::jsonb, $11, $12, 'contract')
    RETURNING id
), healthy AS (
    INSERT INTO endpoint_health (endpoint_id) SELECT id FROM created
)
INSERT INTO outgoing_standing (endpoint_id) SELECT id FROM created;

-- name: list_webhooks
-- $1 organization_id uuid, $2 limit int
SELECT endpoints.*, standing.failure_count, standing.last_status,
       standing.last_triggered_at
  FROM endpoints
  LEFT JOIN outgoing_standing AS standing ON standing.endpoint_id = endpoints.id
 WHERE organization_id = $1
   AND kind = 'outgoing'
   AND deleted_at IS NULL
 ORDER BY id DESC
 LIMIT $2;

-- name: read_webhook
-- $1 organization_id uuid, $2 id uuid
SELECT endpoints.*, standing.failure_count, standing.last_status,
       standing.last_triggered_at
  FROM endpoints
  LEFT JOIN outgoing_standing AS standing ON standing.endpoint_id = endpoints.id
 WHERE organization_id = $1
   AND id = $2
   AND kind = 'outgoing'
   AND deleted_at IS NULL;

-- name: change_webhook
-- Null keeps what is there.  One that is enabled again, or leads elsewhere, begins as
-- healthy; one that is enabled again has failed never.  The caller holds the
-- organization's row, so that nobody else changes any of its webhooks.
-- $1 organization_id uuid, $2 id uuid, $3 name text, $4 url text, $5 events text[], $6
-- format text, $7 enabled boolean, $8 why not text
WITH before AS MATERIALIZED (
    SELECT id, url, enabled
      FROM endpoints
     WHERE organization_id = $1
       AND id = $2
       AND kind = 'outgoing'
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
       SET name            = coalesce($3, endpoints.name),
           url             = coalesce($4, endpoints.url),
           event_types     = coalesce($5::text[], endpoints.event_types),
           format          = coalesce($6, endpoints.format),
           enabled         = coalesce($7, endpoints.enabled),
           disabled_reason = CASE WHEN NOT coalesce($7, endpoints.enabled)
                                  THEN coalesce(endpoints.disabled_reason, $8) END,
           disabled_at     = CASE WHEN NOT coalesce($7, endpoints.enabled)
                                  THEN coalesce(endpoints.disabled_at, now()) END,
           version         = endpoints.version + 1,
           url_version     = endpoints.url_version
                             + (coalesce($4, endpoints.url) <> endpoints.url
                                OR coalesce($7, endpoints.enabled)
                                   AND NOT endpoints.enabled)::int,
           updated_at      = now()
      FROM before
     WHERE endpoints.id = before.id
    RETURNING endpoints.id, endpoints.url, endpoints.url <> before.url AS moved,
              endpoints.enabled AND NOT before.enabled AS back,
              before.enabled AND NOT endpoints.enabled AS gone, disabled_reason
), healed AS (
    UPDATE endpoint_health
       SET open_until = NULL, open_seconds = 0, throttled_until = '-infinity',
           throttles = 0, consecutive_failures = 0, failing_since = NULL
      FROM changed
      LEFT JOIN broken ON broken.endpoint_id = changed.id
     WHERE endpoint_health.endpoint_id = changed.id
       AND (changed.moved OR changed.back)
    RETURNING changed.id, changed.url, broken.endpoint_id IS NOT NULL AS was_broken
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, CASE WHEN back THEN 'endpoint.enabled' ELSE 'endpoint.disabled' END,
           json_strip_nulls(json_build_object('endpoint_id', id, 'url', url,
                                              'reason', disabled_reason))
      FROM changed
     WHERE back
        OR gone
     UNION ALL
    SELECT $1, 'endpoint.breaker_closed',
           json_build_object('endpoint_id', id, 'url', url)
      FROM healed
     WHERE was_broken
), forgiven AS (
    UPDATE outgoing_standing
       SET failure_count = 0,
           last_status   = CASE last_status WHEN 'auto_disabled' THEN 'failed'
                                            ELSE last_status END
      FROM changed
     WHERE outgoing_standing.endpoint_id = changed.id
       AND changed.back
)
SELECT id FROM changed;

-- name: delete_webhook
-- Nobody sees it any more, and its secret is gone at once; its open deliveries are
-- cancelled by whoever looks after endpoints that are gone.
-- $1 organization_id uuid, $2 id uuid
WITH gone AS (
    UPDATE endpoints
       SET deleted_at = now(), version = version + 1, updated_at = now()
     WHERE organization_id = $1
       AND id = $2
       AND kind = 'outgoing'
       AND deleted_at IS NULL
    RETURNING id
), secrets AS (
    DELETE FROM endpoint_secrets USING gone WHERE endpoint_id = gone.id
)
SELECT id FROM gone;

-- name: list_deliveries
-- What a webhook was sent, newest first, with how the latest attempt of each went.
-- $1 endpoint_id uuid, $2 status text or null for any, $3 limit int, $4 offset int
SELECT body.id, body.endpoint_id, body.job_type AS event, body.payload, body.created_at,
       delivery.*, latest.status_code, latest.error, latest.response_body
  FROM jobs AS body
 CROSS JOIN LATERAL (
        SELECT attempt AS attempts, settled_at, last_error,
               CASE WHEN ending = 'completed' THEN 'success'
                    WHEN place IN ('finished', 'dead') THEN 'failed'
                    ELSE 'pending' END AS status
          FROM places
         WHERE places.job_id = body.id
         LIMIT 1
       ) AS delivery
  LEFT JOIN LATERAL (
        SELECT status_code, error, response_body
          FROM attempts
         WHERE attempts.job_id = body.id
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS latest ON true
 WHERE body.endpoint_id = $1
   AND ($2::text IS NULL OR delivery.status = $2)
 ORDER BY body.id DESC
 LIMIT $3 OFFSET $4;

-- name: read_delivery
-- How one delivery of a webhook stands.
-- $1 endpoint_id uuid, $2 job_id uuid
SELECT delivery.*
  FROM (SELECT id FROM jobs WHERE jobs.id = $2 AND jobs.endpoint_id = $1) AS body
 CROSS JOIN LATERAL (
        SELECT attempt AS attempts, place, ending
          FROM places
         WHERE places.job_id = body.id
         LIMIT 1
       ) AS delivery;

-- name: retry_delivery
-- dead → ready, by hand: for one more attempt, whatever its retries are; it stands in line
-- with those that are tried again.  Nothing is returned when it stands elsewhere.
-- $1 job_id uuid, $2 actor text
WITH letter AS MATERIALIZED (
    SELECT job_id FROM dead WHERE dead.job_id = $1 LIMIT 1 FOR UPDATE SKIP LOCKED
), raised AS (
    -- No join: see `claim`.
    DELETE FROM dead
     WHERE job_id = ANY (ARRAY(SELECT job_id FROM letter))
    RETURNING job_id, coalesce((SELECT retry_lane_id FROM lanes
                                 WHERE lanes.id = dead.lane_id), lane_id) AS lane_id,
              rank, attempt
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count)
    SELECT raised.lane_id, raised.rank, now(), raised.job_id, raised.attempt,
           jobs.max_retries
      FROM raised
      JOIN jobs ON jobs.id = raised.job_id
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor)
    SELECT job_id, lane_id, 'requeued', rank, attempt, $2
      FROM raised
)
SELECT job_id, lane_id, true AS push, false AS in_line FROM raised;
