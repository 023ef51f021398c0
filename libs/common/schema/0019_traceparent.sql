-- Endpoints that are told the trace of their attempts.
ALTER TABLE endpoints ADD COLUMN send_traceparent boolean NOT NULL DEFAULT false;

-- As before, and whether it is told the trace: see 0004.
CREATE OR REPLACE VIEW endpoints_shown AS
SELECT endpoints.id, endpoints.organization_id, endpoints.url, endpoints.description,
       endpoints.event_types, endpoints.filter, endpoints.headers, endpoints.format,
       endpoints.enabled,
       endpoints.disabled_reason, endpoints.disabled_at, endpoints.timeout_seconds,
       endpoints.retry, endpoints.max_retries, endpoints.rate_limit_per_second,
       endpoints.max_concurrency, endpoints.ordered, endpoints.signature_scheme,
       endpoints.auth_shown, endpoints.tls_shown, endpoints.metadata, endpoints.version,
       endpoints.created_at, endpoints.updated_at, current.public_key,
       health.open_until, nullif(health.throttled_until, '-infinity') AS throttled_until,
       health.consecutive_failures,
       health.failing_since, health.last_success_at, health.last_failure_at,
       health.last_error, lately.succeeded, lately.failed, lately.duration_ms,
       waiting_at(endpoints.id) AS waiting, endpoints.send_traceparent
  FROM endpoints
  LEFT JOIN endpoint_secrets AS current ON current.endpoint_id = endpoints.id
                                       AND current.expires_at IS NULL
  LEFT JOIN endpoint_health AS health ON health.endpoint_id = endpoints.id
 CROSS JOIN LATERAL (
        SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded,
               coalesce(sum(failed), 0)::bigint AS failed,
               sum(duration_ms) AS duration_ms
          FROM endpoint_minutes
         WHERE endpoint_minutes.endpoint_id = endpoints.id
           AND minute > now() - interval '24 hours'
       ) AS lately
 WHERE endpoints.kind = 'endpoint'
   AND endpoints.deleted_at IS NULL;
