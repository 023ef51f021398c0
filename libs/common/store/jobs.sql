-- name: create
-- Bring jobs into the house: body, place, key, journal.  Jobs whose idempotency key is
-- taken are left out; returned are the ids of those that were created.
-- Of two jobs with one key in the same call the first wins.
-- Arrays, one element a job: $1 ids uuid, $2 organizations uuid, $3 queues text,
-- $4 lanes int, $5 payloads text, $6 job types text, $7 tags text, $8 ranks smallint,
-- $9 max retries smallint, $10 timeouts int (s), $11 retry policies text,
-- $12 run_at timestamptz, $13 expires_at timestamptz, $14 idempotency keys text,
-- $15 fingerprints bytea, $16 target urls text, $17 methods text, $18 headers text,
-- $19 target timeouts real (s)
WITH asked AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[],
                  $7::text[], $8::smallint[], $9::smallint[], $10::int[], $11::text[],
                  $12::timestamptz[], $13::timestamptz[], $14::text[], $15::bytea[],
                  $16::text[], $17::text[], $18::text[], $19::real[]) WITH ORDINALITY
           AS asked (id, organization_id, queue_name, lane_id, payload, job_type,
                     tags, rank, max_retries, timeout_seconds, retry,
                     run_at, expires_at, idempotency_key, fingerprint,
                     target_url, target_method, target_headers, target_timeout_seconds,
                     place)
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
    SELECT *, coalesce(run_at > now(), false) AS later
      FROM asked
     WHERE idempotency_key IS NULL
        OR id IN (SELECT job_id FROM keyed)
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, job_type, tags,
                      max_retries, timeout_seconds, retry, idempotency_key, expires_at,
                      target_url, target_method, target_headers, target_timeout_seconds)
    SELECT id, organization_id, queue_name, payload::json, job_type, tags::jsonb,
           max_retries, timeout_seconds, retry::jsonb, idempotency_key, expires_at,
           target_url, target_method, target_headers::jsonb, target_timeout_seconds
      FROM admitted
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id)
    SELECT lane_id, rank, now(), id
      FROM admitted
     WHERE NOT later
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank)
    SELECT run_at, id, lane_id, rank
      FROM admitted
     WHERE later
), expiring AS (
    INSERT INTO expiries (expires_at, job_id)
    SELECT expires_at, id
      FROM admitted
     WHERE expires_at IS NOT NULL
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
    SELECT id, lane_id, 'created', rank, 0,
           CASE WHEN later THEN json_build_object('run_at', run_at) END
      FROM admitted
)
SELECT id FROM admitted;

-- name: find_by_keys
-- The jobs that hold these idempotency keys.
-- $1 organization_ids uuid[], $2 keys text[]
SELECT idempotency.organization_id, idempotency.key, idempotency.job_id,
       idempotency.fingerprint
  FROM unnest($1::uuid[], $2::text[]) AS asked (organization_id, key)
  JOIN idempotency USING (organization_id, key);

-- name: read_job
-- One job, whole, with what its place says of it.
-- $1 organization_id uuid, $2 job_id uuid
SELECT jobs.*, standing.place, standing.rank, standing.attempt, standing.retry_count,
       standing.run_at, standing.started_at, standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       standing.lease_id, leases.owner, leases.deadline, leases.claimed_at,
       finished.result, latest.at AS updated_at
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  LEFT JOIN leases ON leases.id = standing.lease_id
  LEFT JOIN finished ON finished.job_id = jobs.id
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
-- timestamptz, $8 created before timestamptz, $9 limit int, $10 offset int
SELECT jobs.id, jobs.queue_name, jobs.job_type, jobs.max_retries, jobs.tags,
       jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, standing.run_at, standing.started_at,
       standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  LEFT JOIN LATERAL (
        SELECT attempts.error
          FROM attempts
         WHERE attempts.job_id = jobs.id
           AND attempts.error IS NOT NULL
           AND standing.retry_count > 0
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS failed ON true
 WHERE jobs.organization_id = $1
   AND ($7::timestamptz IS NULL OR jobs.created_at >= $7)
   AND ($8::timestamptz IS NULL OR jobs.created_at < $8)
   -- An id is born a little before its row: this only spares us the far partitions.
   AND jobs.id >= first_id_at(coalesce($7, '2020-01-01') - interval '1 hour')
   AND jobs.id <  first_id_at(coalesce($8, '9000-01-01') + interval '1 hour')
   AND ($2::text[] IS NULL OR jobs.queue_name = ANY ($2))
   AND ($3::text[] IS NULL
        OR status_of(standing.place, standing.ending, standing.retry_count) = ANY ($3))
   AND ($4::text IS NULL OR jobs.tags ? $4)
   AND ($5::text IS NULL OR jobs.job_type = $5)
   AND ($6::text IS NULL
        OR starts_with(jobs.id::text, lower($6))
        OR strpos(lower(jobs.queue_name), lower($6)) > 0
        OR strpos(lower(jobs.job_type), lower($6)) > 0)
 ORDER BY jobs.id DESC
 LIMIT $9 OFFSET $10;

-- name: list_open_jobs
-- The same for states that are left again: walks the places, never the history.
-- $1 … $10 as in list_jobs; $11 places text[]
SELECT jobs.id, jobs.queue_name, jobs.job_type, jobs.max_retries, jobs.tags,
       jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, standing.run_at, standing.started_at,
       standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error
  FROM places AS standing
  JOIN lanes ON lanes.id = standing.lane_id
  JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = standing.job_id LIMIT 1)
       AS jobs ON true
  LEFT JOIN LATERAL (
        SELECT attempts.error
          FROM attempts
         WHERE attempts.job_id = jobs.id
           AND attempts.error IS NOT NULL
           AND standing.retry_count > 0
         ORDER BY attempts.attempt DESC
         LIMIT 1
       ) AS failed ON true
 WHERE lanes.organization_id = $1
   AND standing.place = ANY ($11::text[])
   AND ($7::timestamptz IS NULL OR jobs.created_at >= $7)
   AND ($8::timestamptz IS NULL OR jobs.created_at < $8)
   -- An id is born a little before its row: this only spares us the far partitions.
   AND jobs.id >= first_id_at(coalesce($7, '2020-01-01') - interval '1 hour')
   AND jobs.id <  first_id_at(coalesce($8, '9000-01-01') + interval '1 hour')
   AND ($2::text[] IS NULL OR lanes.queue_name = ANY ($2))
   AND ($3::text[] IS NULL
        OR status_of(standing.place, standing.ending, standing.retry_count) = ANY ($3))
   AND ($4::text IS NULL OR jobs.tags ? $4)
   AND ($5::text IS NULL OR jobs.job_type = $5)
   AND ($6::text IS NULL
        OR starts_with(jobs.id::text, lower($6))
        OR strpos(lower(jobs.queue_name), lower($6)) > 0
        OR strpos(lower(jobs.job_type), lower($6)) > 0)
 ORDER BY standing.job_id DESC
 LIMIT $9 OFFSET $10;

-- name: read_body
-- Some bytes of a leased job's body, for whoever holds the lease.
-- $1 job_id uuid, $2 lease_id uuid, $3 offset int (bytes, from 0), $4 length int
SELECT substr(convert_to(jobs.payload::text, 'UTF8'), $3 + 1, $4)
  FROM leased
  JOIN jobs ON jobs.id = leased.job_id
 WHERE leased.job_id = $1
   AND leased.lease_id = $2;
