-- name: find_old
-- What is sealed with another key than this one, in order; the key's id stands after the
-- first byte (see `sealing`).
-- $1 key id bytea, $2 after which part text, $3 and name in it text, $4 limit int
SELECT part, name, owner, sealed
  FROM (SELECT 'signing_secret' AS part, id::text AS name, organization_id::text AS owner,
               sealed
          FROM signing_secrets
         UNION ALL
        SELECT 'endpoint_secret', id::text, endpoint_id::text, sealed
          FROM endpoint_secrets
         UNION ALL
        SELECT 'endpoint_auth', id::text, id::text, auth
          FROM endpoints
         UNION ALL
        SELECT 'endpoint_tls', id::text, id::text, tls
          FROM endpoints
         UNION ALL
        SELECT 'completion_webhook', job_id::text, job_id::text, sealed
          FROM completion_webhooks
         UNION ALL
        SELECT 'incoming_source', organization_id || '/' || provider,
               organization_id::text, sealed
          FROM incoming_sources
         UNION ALL
        SELECT 'incoming_source_previous', organization_id || '/' || provider,
               organization_id::text, previous_sealed
          FROM incoming_sources) AS sealed_ones
 WHERE (part, name) > ($2, $3)
   AND substr(sealed, 2, 4) <> $1
 ORDER BY part, name
 LIMIT $4;

-- name: reseal
-- Put other sealed texts of the same secrets in their places, of one part; what somebody
-- changed meanwhile stays.  Who remembers an endpoint looks again.
-- $1 part text; arrays, one element a secret: $2 names text, $3 sealed so far bytea[],
-- $4 sealed from now on bytea[]
WITH told AS MATERIALIZED (
    SELECT split_part(name, '/', 1)::uuid AS id, split_part(name, '/', 2) AS provider,
           old, new
      FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS told (name, old, new)
), signing AS (
    UPDATE signing_secrets SET sealed = told.new FROM told
     WHERE $1 = 'signing_secret' AND signing_secrets.id = told.id AND sealed = told.old
    RETURNING 1
), of_endpoints AS (
    UPDATE endpoint_secrets SET sealed = told.new FROM told
     WHERE $1 = 'endpoint_secret' AND endpoint_secrets.id = told.id AND sealed = told.old
    RETURNING endpoint_id
), versions AS (
    UPDATE endpoints SET version = version + 1
     WHERE $1 = 'endpoint_secret'
       AND id = ANY (ARRAY(SELECT endpoint_id FROM of_endpoints))
), auths AS (
    UPDATE endpoints SET auth = told.new, version = version + 1 FROM told
     WHERE $1 = 'endpoint_auth' AND endpoints.id = told.id AND auth = told.old
    RETURNING 1
), certificates AS (
    UPDATE endpoints SET tls = told.new, version = version + 1 FROM told
     WHERE $1 = 'endpoint_tls' AND endpoints.id = told.id AND tls = told.old
    RETURNING 1
), completions AS (
    UPDATE completion_webhooks SET sealed = told.new FROM told
     WHERE $1 = 'completion_webhook' AND job_id = told.id AND sealed = told.old
    RETURNING 1
), sources AS (
    UPDATE incoming_sources SET sealed = told.new FROM told
     WHERE $1 = 'incoming_source' AND organization_id = told.id
       AND incoming_sources.provider = told.provider AND sealed = told.old
    RETURNING 1
), previous AS (
    UPDATE incoming_sources SET previous_sealed = told.new FROM told
     WHERE $1 = 'incoming_source_previous' AND organization_id = told.id
       AND incoming_sources.provider = told.provider AND previous_sealed = told.old
    RETURNING 1
)
SELECT ((SELECT count(*) FROM signing) + (SELECT count(*) FROM of_endpoints)
        + (SELECT count(*) FROM auths) + (SELECT count(*) FROM certificates)
        + (SELECT count(*) FROM completions) + (SELECT count(*) FROM sources)
        + (SELECT count(*) FROM previous))::int;
