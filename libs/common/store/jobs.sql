-- name: create
-- Bring jobs into the house: body, place, key, journal.  Jobs whose idempotency key is
-- taken are left out; returned are the ids of those that were created.
-- Of two jobs with one key in the same call the first wins.
-- Arrays, one element a job: $1 ids uuid, $2 organizations uuid, $3 queues text,
-- $4 lanes int, $5 payloads text, $6 job types text, $7 tags text, $8 ranks smallint,
-- $9 max retries smallint, $10 timeouts int (s), $11 retry policies text,
-- $12 run_at timestamptz, $13 expires_at timestamptz, $14 idempotency keys text,
-- $15 fingerprints bytea, $16 target urls text, $17 methods text, $18 headers text,
-- $19 target timeouts real (s), $20 parents uuid (a job with one waits for it), $21
-- endpoints uuid, $22 messages uuid (whose payload it is, where it has none), $23
-- webhook ids text, $24 whose end they tell uuid, $25 scopes and $26 keys text of the
-- lines they stand in: a job with one is held until its turn comes, and one with a parent,
-- too, joins when it need not wait for it any more, $27 what made them text (JSON object),
-- $28 workflows uuid, $29 for how many jobs beside the parent it waits int, by edges that
-- the caller adds; $30 whether payloads refer to what their parents gave boolean, $31
-- whether the message's payload is sent in an envelope boolean
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[],
                  $7::text[], $8::smallint[], $9::smallint[], $10::int[], $11::text[],
                  $12::timestamptz[], $13::timestamptz[], $14::text[], $15::bytea[],
                  $16::text[], $17::text[], $18::text[], $19::real[], $20::uuid[],
                  $21::uuid[], $22::uuid[], $23::text[], $24::uuid[], $25::text[],
                  $26::text[], $27::text[], $28::uuid[], $29::int[],
                  $30::boolean[], $31::boolean[])
           WITH ORDINALITY
           AS asked (id, organization_id, queue_name, lane_id, payload, job_type,
                     tags, rank, max_retries, timeout_seconds, retry,
                     run_at, expires_at, idempotency_key, fingerprint,
                     target_url, target_method, target_headers, target_timeout_seconds,
                     parent_id, endpoint_id, message_id, webhook_id, completion_of,
                     line_scope, line_key, made_by, workflow_id, edges, refers,
                     enveloped, place)
), keyed AS (
    INSERT INTO idempotency (organization_id, key, job_id, fingerprint)
    SELECT organization_id, idempotency_key, id, fingerprint
      FROM (SELECT DISTINCT ON (organization_id, idempotency_key) *
              FROM asked
             WHERE idempotency_key IS NOT NULL
             ORDER BY organization_id, idempotency_key, place) AS first
     ORDER BY organization_id, idempotency_key
        ON CONFLICT DO NOTHING
    RETURNING job_id
), admitted AS MATERIALIZED (
    SELECT *, coalesce(run_at > now(), false) AS later,
           parent_id IS NOT NULL OR edges IS NOT NULL AS waits
      FROM asked
     WHERE idempotency_key IS NULL
        OR id IN (SELECT job_id FROM keyed)
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, job_type, tags,
                      max_retries, timeout_seconds, retry, idempotency_key, expires_at,
                      target_url, target_method, target_headers, target_timeout_seconds,
                      parent_job_id, endpoint_id, message_id, webhook_id,
                      scheduled_at, completion_of, line_scope, line_key, workflow_id,
                      refers, enveloped)
    SELECT id, organization_id, queue_name, payload::json, job_type, tags::jsonb,
           max_retries, timeout_seconds, retry::jsonb, idempotency_key, expires_at,
           target_url, target_method, target_headers::jsonb, target_timeout_seconds,
           parent_id, endpoint_id, message_id, webhook_id, run_at,
           completion_of, line_scope, line_key, workflow_id, coalesce(refers, false),
           enveloped
      FROM admitted
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id)
    SELECT lane_id, rank, now(), id
      FROM admitted
     WHERE NOT later
       AND NOT waits
       AND line_key IS NULL
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank)
    SELECT run_at, id, lane_id, rank
      FROM admitted
     WHERE later
       AND NOT waits
       AND line_key IS NULL
), into_waiting AS (
    INSERT INTO waiting (job_id, lane_id, rank, run_at, edges)
    SELECT id, lane_id, rank, CASE WHEN later THEN run_at END,
           coalesce(edges, 0) + (parent_id IS NOT NULL)::int
      FROM admitted
     WHERE waits
), into_held AS (
    -- Also when it is the first: who is next is not for us to say (see `lines`).
    INSERT INTO held (job_id, lane_id, rank, reason, run_at)
    SELECT id, lane_id, rank, 'its turn has not come', CASE WHEN later THEN run_at END
      FROM admitted
     WHERE line_key IS NOT NULL
       AND NOT waits
), into_lines AS (
    INSERT INTO lines (job_id, scope, key)
    SELECT id, line_scope, line_key
      FROM admitted
     WHERE line_key IS NOT NULL
       AND NOT waits
     ORDER BY place
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM into_lines
), edges AS (
    INSERT INTO dependencies (child_id, parent_id)
    SELECT id, parent_id
      FROM admitted
     WHERE parent_id IS NOT NULL
), rechecked AS (
    -- The parent may have ended, or be ending, before anybody can see the edge.
    INSERT INTO rechecks (child_id, repeatedly)
    SELECT id, true
      FROM admitted
     WHERE parent_id IS NOT NULL
), expiring AS (
    INSERT INTO expiries (expires_at, job_id)
    SELECT expires_at, id
      FROM admitted
     WHERE expires_at IS NOT NULL
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT id, lane_id, 'created', rank, 0,
           CASE WHEN made_by IS NOT NULL
                THEN (made_by::jsonb || CASE WHEN later
                          THEN jsonb_build_object('run_at', run_at) ELSE '{}' END)::json
                WHEN later THEN json_build_object('run_at', run_at) END
      FROM admitted
)
SELECT id FROM admitted;

-- name: find_by_keys
-- The jobs that hold these idempotency keys.  One probe a key, even when the planner
-- last saw the table empty: hence the LIMIT.
-- $1 organization_ids uuid[], $2 keys text[]
SELECT asked.organization_id, asked.key, taken.job_id, taken.fingerprint
  FROM unnest($1::uuid[], $2::text[]) AS asked (organization_id, key)
 CROSS JOIN LATERAL (
        SELECT idempotency.job_id, idempotency.fingerprint
          FROM idempotency
         WHERE idempotency.organization_id = asked.organization_id
           AND idempotency.key = asked.key
         LIMIT 1
       ) AS taken;

-- name: read_job
-- One job, whole, with what its place says of it.
-- $1 organization_id uuid, $2 job_id uuid
SELECT jobs.*,
       CASE WHEN jobs.enveloped
            THEN envelope(messages.id, messages.event_type, messages.payload::text)
            ELSE messages.payload::text END AS message_payload,
       standing.place, standing.rank, standing.attempt, standing.retry_count,
       coalesce(standing.run_at, jobs.scheduled_at) AS run_at,
       standing.started_at, standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       standing.lease_id, coalesce(leased.owner, leases.owner) AS owner,
       coalesce(leased.deadline, leases.deadline) AS deadline,
       coalesce(leased.claimed_at, leases.claimed_at) AS claimed_at,
       CASE WHEN finished.result IS NULL AND jobs.workflow_id IS NOT NULL
            THEN result_of(jobs.id) ELSE finished.result END AS result,
       latest.at AS updated_at,
       (SELECT max(mode::text) FROM dependencies WHERE child_id = jobs.id)
           AS dependency_mode,
       completion_webhooks.url AS completion_webhook
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  LEFT JOIN leased ON leased.job_id = jobs.id
  LEFT JOIN leases ON leases.id = standing.lease_id
  LEFT JOIN finished ON finished.job_id = jobs.id
  LEFT JOIN messages ON messages.id = jobs.message_id
  LEFT JOIN completion_webhooks ON completion_webhooks.job_id = jobs.id
  LEFT JOIN LATERAL (
        SELECT attempts.error
          FROM attempts
         WHERE attempts.job_id = jobs.id
           AND attempts.error IS NOT NULL
           AND standing.retry_count > 0
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS failed ON true
  LEFT JOIN LATERAL (
        SELECT journal.at
          FROM journal
         WHERE journal.job_id = jobs.id
         ORDER BY journal.seq DESC
         LIMIT 1
       ) AS latest ON true
 WHERE jobs.id = $2
   AND jobs.organization_id = $1;

-- name: list_jobs
-- Jobs of an organization, newest first, of any state: walks its ids.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 statuses text[]
-- or null, $4 tag text, $5 job_type text, $6 search text, $7 created after
-- timestamptz, $8 created before timestamptz, $9 limit int, $10 offset int, $11 before
-- which job_id uuid, or null, $12 last error text (its first 200 characters), or null
SELECT listed.*
  FROM listed
 WHERE organization_id = $1
   AND ($11::uuid IS NULL OR id < $11)
   -- An id is born a little before its row: this only spares us the far partitions.
   AND id >= first_id_at(coalesce($7::timestamptz, '2020-01-01') - interval '1 hour')
   AND id <  first_id_at(coalesce($8::timestamptz, '9000-01-01') + interval '1 hour')
   AND is_wanted(listed, $2, $3, $4, $5, $6, $7, $8)
   AND ($12::text IS NULL OR left(listed.last_error, 200) = $12)
 ORDER BY id DESC
 LIMIT $9 OFFSET $10;

-- name: list_open_jobs
-- The same for states that are left again: walks the places, never the history.
-- $1 … $12 as in list_jobs; $13 places text[]
SELECT listed.*
  FROM (SELECT job_id
          FROM open_jobs($1, $2, $13::text[])
         WHERE ($11::uuid IS NULL OR job_id < $11)
         ORDER BY job_id DESC) AS standing
 CROSS JOIN LATERAL (
        SELECT * FROM listed WHERE listed.id = standing.job_id LIMIT 1
       ) AS listed
 WHERE is_wanted(listed, $2, $3, $4, $5, $6, $7, $8)
   AND ($12::text IS NULL OR left(listed.last_error, 200) = $12)
 ORDER BY standing.job_id DESC
 LIMIT $9 OFFSET $10;

-- name: list_sorted_jobs
-- The same in another order: looks at everything that is asked for, to sort it.  What
-- has nothing to be sorted by comes last; of two that are equal, the newer one first.
-- $1 … $10 as in list_jobs; $11 places text[], or null to walk the history; $12 by
-- what text, $13 descending boolean, $14 last error text (as above), or null
SELECT listed.*
  FROM (SELECT job_id FROM open_jobs($1, $2, $11::text[])
         WHERE $11::text[] IS NOT NULL
         UNION ALL
        SELECT id
          FROM jobs
         WHERE $11::text[] IS NULL
           AND organization_id = $1
           AND id >= first_id_at(coalesce($7::timestamptz, '2020-01-01') - interval '1 hour')
           AND id <  first_id_at(coalesce($8::timestamptz, '9000-01-01') + interval '1 hour')
       ) AS standing
 CROSS JOIN LATERAL (
        SELECT * FROM listed WHERE listed.id = standing.job_id LIMIT 1
       ) AS listed
  LEFT JOIN LATERAL (
        SELECT at
          FROM journal
         WHERE journal.job_id = listed.id
           AND $12::text = 'updated_at'
         ORDER BY seq DESC
         LIMIT 1
       ) AS latest ON true
 CROSS JOIN LATERAL (
        SELECT CASE WHEN $13::boolean THEN -1 ELSE 1 END * CASE $12
                    WHEN 'created_at'   THEN extract(epoch FROM listed.created_at)
                    WHEN 'updated_at'   THEN extract(epoch FROM latest.at)
                    WHEN 'scheduled_at' THEN extract(epoch FROM listed.run_at)
                    WHEN 'completed_at' THEN extract(epoch FROM listed.settled_at)
                    WHEN 'priority'     THEN 100 - listed.rank
                    WHEN 'retry_count'  THEN listed.retry_count END AS amount,
               CASE $12 WHEN 'status'     THEN listed.status
                        WHEN 'queue_name' THEN listed.queue_name END AS word
       ) AS key
 WHERE is_wanted(listed, $2, $3, $4, $5, $6, $7, $8)
   AND ($14::text IS NULL OR left(listed.last_error, 200) = $14)
 ORDER BY amount NULLS LAST, CASE WHEN NOT $13 THEN word END,
          CASE WHEN $13 THEN word END DESC,
          -- Of two of the same moment the id knows which came first.
          CASE WHEN NOT $13 AND $12 = 'created_at' THEN listed.id END, listed.id DESC
 LIMIT $9 OFFSET $10;

-- name: read_statuses
-- How these jobs of an organization stand, in the order asked for.
-- $1 organization_id uuid, $2 job_ids uuid[], $3 queue names text[] or null for all
SELECT listed.*
  FROM unnest($2::uuid[]) WITH ORDINALITY AS asked (job_id, place)
 CROSS JOIN LATERAL (
        SELECT * FROM listed WHERE listed.id = asked.job_id LIMIT 1
       ) AS listed
 WHERE listed.organization_id = $1
   AND ($3::text[] IS NULL OR listed.queue_name = ANY ($3))
 ORDER BY asked.place;

-- name: read_body
-- Some bytes of a leased job's body, for whoever holds the lease.  With a digest only of
-- that body: those that it refers to may have given something since it was claimed.
-- $1 job_id uuid, $2 lease_id uuid, $3 offset int (bytes, from 0), $4 length int, $5
-- digest text (SHA-256, hex), or null
SELECT substr(spelled.body, $3 + 1, $4)
  FROM leased
  JOIN jobs ON jobs.id = leased.job_id
 CROSS JOIN LATERAL (
        SELECT convert_to(
               CASE WHEN jobs.refers THEN resolved(jobs.payload, jobs.workflow_id)::text
                    WHEN jobs.enveloped
                    THEN (SELECT envelope(id, event_type, messages.payload::text)
                            FROM messages
                           WHERE messages.id = jobs.message_id)
                    ELSE coalesce(jobs.payload, (SELECT messages.payload FROM messages
                                                  WHERE messages.id = jobs.message_id)
                         )::text
                    END, 'UTF8') AS body
        OFFSET 0
       ) AS spelled
 WHERE leased.job_id = $1
   AND leased.lease_id = $2
   AND ($5::text IS NULL OR encode(sha256(spelled.body), 'hex') = $5);
