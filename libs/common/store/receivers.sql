-- name: read_receivers
-- How these endpoints want their requests; their keys with the current one first.  Those
-- that are gone are left out.
-- $1 endpoint_ids uuid[]
SELECT endpoints.id, version, url_version, kind, url, timeout_seconds, headers, auth, tls,
       send_traceparent, keys.schemes, keys.sealed, keys.expire_at
  FROM endpoints
 CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(scheme ORDER BY turn), '{}')     AS schemes,
               coalesce(array_agg(sealed ORDER BY turn), '{}')     AS sealed,
               coalesce(array_agg(expires_at ORDER BY turn), '{}') AS expire_at
          FROM (SELECT *, row_number() OVER (
                            ORDER BY expires_at DESC NULLS FIRST, id DESC) AS turn
                  FROM endpoint_secrets
                 WHERE endpoint_secrets.endpoint_id = endpoints.id
                   AND (expires_at IS NULL OR expires_at > now())) AS signing
       ) AS keys
 WHERE endpoints.id = ANY ($1::uuid[])
   AND deleted_at IS NULL;
