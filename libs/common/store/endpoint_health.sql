-- name: lock_health
-- Whoever else is about to tell how attempts to these endpoints ended, or to start some,
-- waits until our transaction ends.  Organization, endpoint, health is the order in which
-- everybody locks, so that a circle cannot close.
-- $1 endpoint_ids uuid[]
SELECT endpoint_id
  FROM endpoint_health
 WHERE endpoint_id = ANY ($1::uuid[])
 ORDER BY endpoint_id
   FOR NO KEY UPDATE;

-- name: note_outcomes
-- How attempts to endpoints ended, those of a batch in one row.  In the transaction that
-- settles them, so that nobody sees one without the other.  What went to an older URL, or
-- before the endpoint was enabled again, is left out.
--
-- The caller has locked the rows that say how they do (`lock_health`).  A statement of
-- its own: its snapshot is younger than the locks, so it counts what the last one told.
--
-- The breaker opens for $9 when $10 attempts in a row have failed, or $12 percent of at
-- least $11 within five minutes.  When its time is over it is on trial: an attempt that
-- fails opens it for twice as long, up to $13; one that goes well closes it.  An outgoing
-- webhook has none: its deliveries are given up within seconds, and after some it is
-- disabled (contract 5.7; `telling.note_outcomes`).
-- The throttle asks for more and more, 1, 2, 4, … 60 s, each time that it is over, and
-- goes back when an attempt goes well.
-- A series of failures begins anew when none was seen for as long as $14.
-- Arrays, one element an endpoint, in the order of ids: $1 endpoint_ids uuid,
-- $2 succeeded int, $3 failed int, $4 failed since the last success int, $5 milliseconds
-- double precision (of all), $6 throttle double precision (s; null: nobody asks for it),
-- $7 last errors text, $15 url_versions int; $8 at timestamptz, null for now; $9 interval, $10 int, $11 int,
-- $12 int, $13 interval, $14 interval
WITH told AS MATERIALIZED (
    SELECT *, coalesce($8::timestamptz, statement_timestamp()) AS at
      FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::double precision[],
                  $6::double precision[], $7::text[], $15::int[])
           AS told (endpoint_id, succeeded, failed, failed_last, duration_ms,
                    throttle_seconds, error, url_version)
), before AS MATERIALIZED (
    SELECT told.*, health.open_until, health.open_seconds, health.closed_at,
           health.throttled_until, health.throttles, health.consecutive_failures,
           health.failing_since, health.last_failure_at
      FROM told
     CROSS JOIN LATERAL (
            SELECT *
              FROM endpoint_health
             WHERE endpoint_health.endpoint_id = told.endpoint_id
             LIMIT 1
           ) AS health
     CROSS JOIN LATERAL (
            SELECT
              FROM endpoints
             WHERE endpoints.id = told.endpoint_id
               AND endpoints.url_version = told.url_version
             LIMIT 1
           ) AS endpoint
), counted AS (
    INSERT INTO endpoint_minutes AS minutes
                (endpoint_id, minute, succeeded, failed, duration_ms)
    SELECT endpoint_id, date_trunc('minute', at), succeeded, failed, duration_ms
      FROM before
     ORDER BY endpoint_id
        ON CONFLICT (endpoint_id, minute) DO UPDATE
       SET succeeded   = minutes.succeeded + excluded.succeeded,
           failed      = minutes.failed + excluded.failed,
           duration_ms = minutes.duration_ms + excluded.duration_ms
), summed AS MATERIALIZED (
    SELECT before.*,
           CASE WHEN succeeded > 0 THEN failed_last
                ELSE consecutive_failures + failed END AS in_a_row,
           failed + lately.failures AS failed_lately,
           succeeded + failed + lately.attempts AS made_lately
      FROM before
     CROSS JOIN LATERAL (
            SELECT coalesce(sum(endpoint_minutes.failed), 0) AS failures,
                   coalesce(sum(endpoint_minutes.succeeded + endpoint_minutes.failed), 0)
                       AS attempts
              FROM endpoint_minutes
             WHERE endpoint_minutes.endpoint_id = before.endpoint_id
               AND minute > greatest(before.closed_at, before.at - interval '5 minutes')
               AND before.failed > 0
           ) AS lately
), judged AS MATERIALIZED (
    SELECT summed.*,
           -- Not on trial, nor open: or closed just now, by what came first.
           (open_until IS NULL OR succeeded > 0)
           AND failed_last > 0
           AND (in_a_row >= $10
                OR made_lately >= $11 AND failed_lately * 100 >= made_lately * $12)
           AND (SELECT kind <> 'outgoing' FROM endpoints WHERE id = summed.endpoint_id)
             AS opens,
           open_until <= at AND succeeded = 0 AND failed > 0 AS opens_again,
           open_until IS NOT NULL AND succeeded > 0 AS closes
      FROM summed
), after AS MATERIALIZED (
    SELECT judged.*,
           CASE WHEN opens THEN extract(epoch FROM $9::interval)
                WHEN opens_again
                THEN least(greatest(open_seconds * 2, extract(epoch FROM $9::interval)),
                           extract(epoch FROM $13::interval))
                WHEN closes THEN 0
                ELSE open_seconds END::int AS now_open_seconds,
           throttle_seconds IS NOT NULL AND throttled_until <= at AS throttles_now,
           CASE WHEN failed_last = 0 THEN NULL
                WHEN succeeded > 0 OR last_failure_at < at - $14::interval THEN at
                ELSE coalesce(failing_since, at) END AS now_failing_since
      FROM judged
), changed AS (
    -- No join: see `claim`.  By id, because the row may stand elsewhere by now.
    UPDATE endpoint_health AS health
       SET (open_seconds, open_until, closed_at, throttled_until, throttles,
            consecutive_failures, failing_since, last_success_at, last_failure_at,
            last_error) = (
            SELECT now_open_seconds,
                   CASE WHEN opens OR opens_again
                        THEN at + now_open_seconds * interval '1 second'
                        WHEN NOT closes THEN after.open_until END,
                   CASE WHEN closes THEN at ELSE after.closed_at END,
                   CASE WHEN throttle_seconds IS NULL THEN after.throttled_until
                        ELSE greatest(
                            after.throttled_until,
                            at + greatest(throttle_seconds,
                                          CASE WHEN throttles_now
                                               THEN least(2.0 ^ after.throttles, 60) END)
                                 * interval '1 second') END,
                   CASE WHEN throttle_seconds IS NOT NULL
                        THEN least(after.throttles + throttles_now::int, 6)
                        WHEN succeeded > 0 THEN 0
                        ELSE after.throttles END,
                   in_a_row,
                   now_failing_since,
                   CASE WHEN succeeded > 0 THEN at ELSE health.last_success_at END,
                   CASE WHEN failed > 0 THEN at ELSE health.last_failure_at END,
                   coalesce(after.error, health.last_error)
              FROM after
             WHERE after.endpoint_id = health.endpoint_id)
     WHERE endpoint_id = ANY (ARRAY(SELECT endpoint_id FROM after))
), moved AS MATERIALIZED (
    SELECT endpoint.organization_id, endpoint.url, after.*
      FROM after
     CROSS JOIN LATERAL (
            SELECT organization_id, url
              FROM endpoints
             WHERE endpoints.id = after.endpoint_id
             LIMIT 1
           ) AS endpoint
     WHERE opens
        OR closes
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'endpoint.breaker_closed',
           json_build_object('endpoint_id', endpoint_id, 'url', url)
      FROM moved
     WHERE closes
       AND NOT opens
    UNION ALL
    SELECT organization_id, 'endpoint.breaker_opened',
           json_build_object('endpoint_id', endpoint_id, 'url', url,
                             'open_until', at + now_open_seconds * interval '1 second',
                             'consecutive_failures', in_a_row,
                             'last_error', error)
      FROM moved
     WHERE opens
       AND NOT closes
)
SELECT endpoint_id, url_version, opens AND NOT closes AS opened, closes AND NOT opens AS closed,
       throttles_now AS throttled,
       now_failing_since AS failing_since,
       coalesce(now_failing_since <= at - $14::interval, false) AS hopeless
  FROM after;

-- name: lock_owners
-- Whoever changes an endpoint holds its organization's row first: of these endpoints
-- nobody else changes one until our transaction ends.
-- $1 endpoint_ids uuid[]
SELECT id
  FROM organizations
 WHERE id = ANY (ARRAY(
        SELECT endpoint.organization_id
          FROM unnest($1::uuid[]) AS asked (endpoint_id)
         CROSS JOIN LATERAL (
                SELECT organization_id
                  FROM endpoints
                 WHERE endpoints.id = asked.endpoint_id
                 LIMIT 1
               ) AS endpoint))
 ORDER BY id
   FOR NO KEY UPDATE;

-- name: disable
-- Send nothing more to these endpoints, and tell of it.  Those that are disabled already,
-- or gone, are left alone, and those that have another URL by now or were enabled again;
-- returned are the organizations of the others.  The caller holds their organizations
-- (`lock_owners`); a statement of its own, so that it sees what they did before.
-- Arrays, one element an endpoint, in the order of ids: $1 endpoint_ids uuid, $2
-- url_versions int, $3 reasons text, $4 since when timestamptz
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::int[], $3::text[], $4::timestamptz[])
           AS asked (endpoint_id, url_version, reason, since)
), disabled AS (
    UPDATE endpoints
       SET enabled         = false,
           disabled_reason = (SELECT reason FROM asked
                               WHERE asked.endpoint_id = endpoints.id),
           disabled_at     = now(),
           version         = version + 1,
           updated_at      = now()
     WHERE id = ANY (ARRAY(SELECT endpoint_id FROM asked))
       AND url_version = (SELECT asked.url_version FROM asked
                           WHERE asked.endpoint_id = endpoints.id)
       AND enabled
       AND deleted_at IS NULL
    RETURNING id, organization_id, url, disabled_reason AS reason,
              (SELECT since FROM asked WHERE asked.endpoint_id = endpoints.id) AS since
), counted AS (
    UPDATE organizations
       SET endpoints_version = endpoints_version + 1
     WHERE id = ANY (ARRAY(SELECT organization_id FROM disabled))
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'endpoint.disabled',
           json_build_object('endpoint_id', id, 'url', url, 'reason', reason,
                             'since', since)
      FROM disabled
)
SELECT id, organization_id, reason FROM disabled;

-- name: forget_minutes
-- What is older than $1 is of no use to the breaker, nor to who reads.
-- $1 age interval, $2 limit int
DELETE FROM endpoint_minutes
 WHERE ctid = ANY (ARRAY(
        SELECT ctid
          FROM endpoint_minutes
         WHERE minute < now() - $1::interval
         ORDER BY minute
         LIMIT $2
           FOR UPDATE SKIP LOCKED))
RETURNING endpoint_id;
