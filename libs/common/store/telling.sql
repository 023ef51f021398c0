-- name: read_told
-- How far the journal was told.
SELECT tell_xid::text AS xid, tell_seq AS seq FROM announced;

-- name: read_untold
-- The next transitions of which somebody may want to be told, or that tell how telling
-- went, in the order in which that may be done: of everything that is committed and
-- before which nothing can be committed any more.  $3 are looked at, and most are
-- nobody's concern.  The last of them comes along whatever it is, and all with how many
-- were looked at.
-- $1 after xid text, $2 after seq bigint, $3 limit int, $4 transitions that end a job
-- text[]
WITH next AS MATERIALIZED (
    SELECT journal.seq, journal.xid, journal.job_id, lanes.organization_id,
           lanes.queue_name, journal.transition::text AS transition, journal.rank,
           journal.attempt, journal.at, journal.actor, journal.details,
           journal.lane_id, lanes.push, lanes.telling, lanes.endpoint_id
      FROM journal
      JOIN lanes ON lanes.id = journal.lane_id
     WHERE (journal.xid, journal.seq) > ($1::text::xid8, $2)
       AND journal.xid < pg_snapshot_xmin(pg_current_snapshot())
     ORDER BY journal.xid, journal.seq
     LIMIT $3
), listening AS MATERIALIZED (
    SELECT owners.organization_id
      FROM (SELECT DISTINCT organization_id FROM next) AS owners
     CROSS JOIN LATERAL (
            SELECT id
              FROM endpoints
             WHERE endpoints.organization_id = owners.organization_id
               AND kind = 'outgoing'
               AND enabled
               AND deleted_at IS NULL
             LIMIT 1
           ) AS webhook
)
SELECT next.seq, next.xid::text AS xid, next.job_id, next.organization_id,
       next.queue_name, next.transition, next.rank, next.attempt, next.at, next.actor,
       next.details, next.lane_id, next.push, next.telling, next.endpoint_id,
       (SELECT count(*)::int FROM next) AS looked_at
  FROM next
  LEFT JOIN LATERAL (
        SELECT job_id
          FROM completion_webhooks
         WHERE completion_webhooks.job_id = next.job_id
           AND next.transition = ANY ($4::text[])
         LIMIT 1
       ) AS completion ON true
 WHERE next.telling
    OR completion.job_id IS NOT NULL
    OR next.organization_id IN (SELECT organization_id FROM listening)
    OR (next.xid, next.seq) = (
        SELECT xid, seq FROM next ORDER BY xid DESC, seq DESC LIMIT 1)
 ORDER BY next.xid, next.seq;

-- name: note_told
-- Remember that the journal was told up to a point.  Nothing is returned, and nothing
-- happens, when it was not told exactly as far as the caller thinks.  When that is all
-- that its transaction does, the commit need not reach the disk: it is done again.
-- $1 up to xid text, $2 up to seq bigint, $3 so far xid text, $4 so far seq bigint, $5
-- that is all boolean
UPDATE announced
   SET tell_xid = $1::text::xid8, tell_seq = $2
 WHERE tell_xid = $3::text::xid8
   AND tell_seq = $4
RETURNING tell_seq,
          CASE WHEN $5::boolean THEN set_config('synchronous_commit', 'off', true) END;

-- name: find_audience
-- Who wants to be told: the enabled outgoing webhooks of organizations, and the
-- completion webhooks of jobs that ended, in rows without an organization.
-- $1 organization_ids uuid[], $2 job_ids uuid[]
SELECT id, organization_id, event_types, format, max_retries, retry::text AS retry,
       NULL AS url, NULL AS origin
  FROM endpoints
 WHERE organization_id = ANY ($1::uuid[])
   AND kind = 'outgoing'
   AND enabled
   AND deleted_at IS NULL
 UNION ALL
SELECT job_id, NULL, NULL, NULL, NULL, NULL, url, origin
  FROM completion_webhooks
 WHERE job_id = ANY ($2::uuid[]);

-- name: read_results
-- What jobs that completed gave as their result, where they gave one.
-- $1 job_ids uuid[]
SELECT ended.job_id, ended.result
  FROM unnest($1::uuid[]) AS asked (job_id)
 CROSS JOIN LATERAL (
        SELECT job_id, result::text AS result
          FROM finished
         WHERE finished.job_id = asked.job_id
           AND result IS NOT NULL
         LIMIT 1
       ) AS ended;

-- name: note_outcomes
-- How deliveries to outgoing webhooks went, of each webhook all at once: an arrival
-- counts what failed before it for nothing.  One that failed $7 times in a row is
-- disabled; returned are the organizations of those that were.
-- Arrays, one element a webhook, in the order of ids: $1 ids uuid, $2 whether something
-- arrived boolean, $3 deliveries given up since int, $4 last statuses text, $5 when
-- timestamptz; $6 reason text, $7 how many int
WITH told AS (
    SELECT *
      FROM unnest($1::uuid[], $2::boolean[], $3::int[], $4::text[], $5::timestamptz[])
           AS told (endpoint_id, arrived, failures, last_status, at)
), known AS MATERIALIZED (
    SELECT id
      FROM endpoints
     WHERE id = ANY ($1::uuid[])
       AND kind = 'outgoing'
       AND deleted_at IS NULL
     ORDER BY id
       FOR NO KEY UPDATE
), counted AS (
    INSERT INTO outgoing_standing AS standing
                (endpoint_id, failure_count, last_status, last_triggered_at)
    SELECT endpoint_id, failures,
           CASE WHEN failures >= $7 THEN 'auto_disabled' ELSE last_status END, at
      FROM told
     WHERE endpoint_id = ANY (ARRAY(SELECT id FROM known))
     ORDER BY endpoint_id
        ON CONFLICT (endpoint_id) DO UPDATE
       SET (failure_count, last_status, last_triggered_at) = (
            SELECT total.failures,
                   CASE WHEN total.failures >= $7 THEN 'auto_disabled'
                        ELSE told.last_status END,
                   told.at
              FROM told
             CROSS JOIN LATERAL (
                    SELECT told.failures
                           + CASE WHEN told.arrived THEN 0
                                  ELSE standing.failure_count END AS failures
                   ) AS total
             WHERE told.endpoint_id = standing.endpoint_id)
    RETURNING endpoint_id, failure_count
), disabled AS (
    UPDATE endpoints
       SET enabled = false, disabled_reason = $6, disabled_at = now(),
           version = version + 1, updated_at = now()
      FROM counted
     WHERE endpoints.id = counted.endpoint_id
       AND counted.failure_count >= $7
       AND endpoints.enabled
    RETURNING endpoints.id, endpoints.organization_id, endpoints.url,
              counted.failure_count
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'endpoint.disabled',
           json_build_object('endpoint_id', id, 'url', url, 'reason', $6::text,
                             'failure_count', failure_count)
      FROM disabled
)
SELECT DISTINCT organization_id FROM disabled;
