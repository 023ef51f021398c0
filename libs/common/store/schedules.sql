-- name: read_clock
-- What time it is, for everybody.
SELECT now();

-- name: create_schedule
-- $1 id uuid, $2 organization_id uuid, $3 queue_name text, $4 name text, $5 description
-- text, $6 cron_expression text, $7 timezone text, $8 start_at timestamptz, $9 end_at
-- timestamptz, $10 jitter int (s), $11 misfire text, $12 catch up max int, $13 catch up
-- window int (s), $14 overlap text, $15 payload text (JSON), $16 job type text, $17 rank
-- smallint, $18 max_retries smallint, $19 timeout int (s), $20 retry text (JSON), $21
-- tags text (JSON), $22 metadata text (JSON), $23 target url text, $24 method text, $25
-- headers text (JSON), $26 target timeout real (s), $27 endpoint_id uuid, $28
-- destination text, $29 next tick timestamptz, $30 next at timestamptz, $31 edition of
-- the zones text, $32 created_at timestamptz
INSERT INTO schedules (id, organization_id, queue_name, name, description,
                       cron_expression, timezone, start_at, end_at, jitter_seconds,
                       misfire, catch_up_max, catch_up_seconds, overlap, payload,
                       job_type, rank, max_retries, timeout_seconds, retry, tags,
                       metadata, target_url, target_method, target_headers,
                       target_timeout_seconds, endpoint_id, destination, next_tick,
                       next_at, zones_edition, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::text::json,
        $16, $17, $18, $19, $20::text::jsonb, $21::text::jsonb, $22::text::jsonb, $23,
        $24, $25::text::jsonb, $26, $27, $28, $29, $30, $31, $32, $32);

-- name: change_schedule
-- Everything that can be changed of a schedule, whether it was or not; the caller has
-- locked it.
-- $1 id uuid, $2 name text, $3 description text, $4 cron_expression text, $5 timezone
-- text, $6 start_at timestamptz, $7 end_at timestamptz, $8 jitter int (s), $9 misfire
-- text, $10 catch up max int, $11 catch up window int (s), $12 overlap text, $13 payload
-- text (JSON), $14 job type text, $15 rank smallint, $16 max_retries smallint, $17
-- timeout int (s), $18 retry text (JSON), $19 tags text (JSON), $20 metadata text (JSON),
-- $21 target url text, $22 method text, $23 headers text (JSON), $24 target timeout real
-- (s), $25 endpoint_id uuid, $26 destination text, $27 next tick timestamptz, $28 next at
-- timestamptz, $29 edition of the zones text
UPDATE schedules
   SET name                   = $2,
       description            = $3,
       cron_expression        = $4,
       timezone               = $5,
       start_at               = $6,
       end_at                 = $7,
       jitter_seconds         = $8,
       misfire                = $9,
       catch_up_max           = $10,
       catch_up_seconds       = $11,
       overlap                = $12,
       payload                = $13::text::json,
       job_type               = $14,
       rank                   = $15,
       max_retries            = $16,
       timeout_seconds        = $17,
       retry                  = $18::text::jsonb,
       tags                   = $19::text::jsonb,
       metadata               = $20::text::jsonb,
       target_url             = $21,
       target_method          = $22,
       target_headers         = $23::text::jsonb,
       target_timeout_seconds = $24,
       endpoint_id            = $25,
       destination            = $26,
       next_tick              = $27,
       next_at                = $28,
       zones_edition          = $29,
       updated_at             = now()
 WHERE id = $1;

-- name: read_schedule
-- One schedule, with what its queue decides where it is silent.
-- $1 organization_id uuid, $2 id uuid
SELECT schedules.*, queue.max_retries AS queue_max_retries,
       queue.default_timeout AS queue_timeout_seconds
  FROM schedules
  LEFT JOIN queues AS queue
         ON queue.organization_id = schedules.organization_id
        AND queue.name = schedules.queue_name
 WHERE schedules.id = $2
   AND schedules.organization_id = $1;

-- name: lock_schedule
-- The same, and nobody fires or changes it until the transaction ends.
-- $1 organization_id uuid, $2 id uuid
SELECT schedules.*, queue.max_retries AS queue_max_retries,
       queue.default_timeout AS queue_timeout_seconds, now() AS asked_at
  FROM schedules
  LEFT JOIN queues AS queue
         ON queue.organization_id = schedules.organization_id
        AND queue.name = schedules.queue_name
 WHERE schedules.id = $2
   AND schedules.organization_id = $1
   FOR UPDATE OF schedules;

-- name: list_schedules
-- Schedules of an organization, newest first.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 queue_name text or
-- null, $4 whether they are active boolean or null, $5 limit int, $6 offset int
SELECT schedules.*, queue.max_retries AS queue_max_retries,
       queue.default_timeout AS queue_timeout_seconds
  FROM schedules
  LEFT JOIN queues AS queue
         ON queue.organization_id = schedules.organization_id
        AND queue.name = schedules.queue_name
 WHERE schedules.organization_id = $1
   AND ($2::text[] IS NULL OR queue_name = ANY ($2))
   AND ($3::text IS NULL OR queue_name = $3)
   AND ($4::boolean IS NULL OR $4 = (NOT schedules.paused AND next_tick IS NOT NULL))
 ORDER BY schedules.id DESC
 LIMIT $5 OFFSET $6;

-- name: count_active
-- How many schedules of an organization fire, beside one.
-- $1 organization_id uuid, $2 id uuid
SELECT count(*)::int
  FROM schedules
 WHERE organization_id = $1
   AND id <> $2
   AND NOT paused
   AND next_tick IS NOT NULL;

-- name: pause
-- Nothing fires any more; what comes next stays to be seen.
-- $1 organization_id uuid, $2 id uuid
WITH before AS MATERIALIZED (
    SELECT id, paused
      FROM schedules
     WHERE id = $2
       AND organization_id = $1
       FOR NO KEY UPDATE
), stopped AS (
    UPDATE schedules
       SET paused = true, queued_tick = NULL, updated_at = now()
      FROM before
     WHERE schedules.id = before.id
    RETURNING schedules.id, queue_name, name, before.paused AS was_paused
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, 'schedule.paused',
           json_build_object('schedule_id', id, 'queue_name', queue_name, 'name', name)
      FROM stopped
     WHERE NOT was_paused
)
SELECT id FROM stopped;

-- name: resume
-- It fires again, next at this tick; the caller has locked it, and it is paused.
-- $1 id uuid, $2 next tick timestamptz, $3 next at timestamptz, $4 edition text
WITH resumed AS (
    UPDATE schedules
       SET paused = false, next_tick = $2, next_at = $3, zones_edition = $4,
           updated_at = now()
     WHERE id = $1
    RETURNING id, organization_id, queue_name, name, next_at
)
INSERT INTO notices (organization_id, event, data)
SELECT organization_id, 'schedule.resumed',
       json_build_object('schedule_id', id, 'queue_name', queue_name, 'name', name,
                         'next_run_at', next_at)
  FROM resumed;

-- name: delete_schedule
-- Its runs go with it, its jobs stay.
-- $1 organization_id uuid, $2 id uuid
DELETE FROM schedules WHERE id = $2 AND organization_id = $1 RETURNING id;

-- name: list_runs
-- What a schedule did, newest first, with how the job of each run stands.
-- $1 schedule_id uuid, $2 limit int, $3 offset int
SELECT run.*, standing.place, standing.settled_at, standing.last_error,
       status_of(standing.place, standing.ending, standing.retry_count) AS job_status
  FROM (SELECT *
          FROM schedule_runs
         WHERE schedule_id = $1
         ORDER BY id DESC
         LIMIT $2 OFFSET $3) AS run
  LEFT JOIN LATERAL (
        SELECT place, ending, retry_count, settled_at, last_error
          FROM places
         WHERE places.job_id = run.job_id
         LIMIT 1
       ) AS standing ON true
 ORDER BY run.id DESC;

-- name: lock_outdated
-- Schedules whose next tick was found with an older edition of the zones.
-- $1 edition text, $2 limit int
SELECT *, now() AS asked_at
  FROM schedules
 WHERE zones_edition < $1
   AND next_tick IS NOT NULL
 ORDER BY zones_edition, id
 LIMIT $2
   FOR UPDATE SKIP LOCKED;

-- name: update_edition
-- What comes next by the present edition; the caller has locked them.
-- Arrays, one element a schedule: $1 ids uuid, $2 next ticks timestamptz, $3 next at
-- timestamptz; $4 edition text
-- No join: see `firings.move_on`.
UPDATE schedules
   SET (next_tick, next_at, zones_edition) = (
        SELECT ($2::timestamptz[])[place], ($3::timestamptz[])[place], $4
          FROM array_position($1::uuid[], id) AS place)
 WHERE id = ANY ($1::uuid[]);
