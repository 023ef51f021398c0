-- name: read_queue
-- $1 organization_id uuid, $2 name text
SELECT * FROM queues WHERE organization_id = $1 AND name = $2;

-- name: find_queue
-- A queue that was configured, or has jobs; of the latter there is only the name, and
-- since when.  One that was deleted is none, unless jobs stand in it again.
-- $1 organization_id uuid, $2 name text
SELECT $2 AS queue_name, used.opened_at, queues.*
  FROM (SELECT min(opened_at) AS opened_at, bool_or(NOT retired OR has_jobs(id)) AS seen
          FROM lanes
         WHERE organization_id = $1
           AND queue_name = $2) AS used
  LEFT JOIN queues ON queues.organization_id = $1 AND queues.name = $2
 WHERE queues.id IS NOT NULL
    OR used.seen;

-- name: list_queues
-- Such queues, by name; not that of webhooks that tell of jobs.
-- $1 organization_id uuid, $2 names text[] or null for all, $3 limit int, $4 offset int
SELECT known.name AS queue_name, queues.*
  FROM (SELECT name
          FROM queues
         WHERE organization_id = $1
         UNION
        SELECT queue_name
          FROM lanes
         WHERE organization_id = $1
           AND (NOT retired OR has_jobs(id))
           AND NOT telling) AS known (name)
  LEFT JOIN queues ON queues.organization_id = $1 AND queues.name = known.name
 WHERE ($2::text[] IS NULL OR known.name = ANY ($2))
 ORDER BY known.name
 LIMIT $3 OFFSET $4;

-- name: configure_queue
-- Create or change a queue's configuration; null keeps what is there, settings merge.
-- $1 id uuid (for a new one), $2 organization_id uuid, $3 name text, $4 max_retries
-- smallint, $5 default_timeout int (s), $6 rate_limit int, $7 enabled boolean,
-- $8 settings text (JSON object), $9 settings to be taken away text[], $10 whether the
-- rate limit is taken away boolean
WITH before AS MATERIALIZED (
    SELECT paused, settings ->> 'paused_at' AS paused_at
      FROM queues
     WHERE organization_id = $2
       AND name = $3
       FOR UPDATE
), configured AS (
    INSERT INTO queues AS queue (id, organization_id, name, max_retries,
                                 default_timeout, rate_limit, enabled, settings)
    SELECT $1, $2, $3, coalesce($4, 3), coalesce($5, 300), $6, coalesce($7, true),
           coalesce($8::text::jsonb, '{}')
      -- Looked at first: nothing is found locked that we have changed ourselves.
      FROM (SELECT count(*) FROM before) AS looked
        ON CONFLICT (organization_id, name) DO UPDATE
       SET max_retries     = coalesce($4, queue.max_retries),
           default_timeout = coalesce($5, queue.default_timeout),
           rate_limit      = CASE WHEN $10 THEN NULL
                                  ELSE coalesce($6, queue.rate_limit) END,
           enabled         = coalesce($7, queue.enabled),
           settings        = (queue.settings - $9::text[])
                             || coalesce($8::text::jsonb, '{}'),
           updated_at      = now()
    RETURNING *, name AS queue_name
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $2, CASE WHEN configured.paused THEN 'queue.paused' ELSE 'queue.resumed' END,
           CASE WHEN configured.paused
                THEN json_build_object('queue_name', $3,
                                       'reason', settings ->> 'paused_reason')
                ELSE json_build_object(
                    'queue_name', $3,
                    'paused_duration_secs', greatest(floor(extract(
                        epoch FROM now() - moment_of(before.paused_at))), 0)::bigint)
                END
      FROM configured
      LEFT JOIN before ON true
     WHERE configured.paused <> coalesce(before.paused, false)
)
SELECT * FROM configured;

-- name: pause_queue
-- Nothing is claimed from the queue until it is resumed; paused again it is so since
-- the first time.  Nothing is returned when there is no such queue.
-- $1 id uuid (for one that was not configured), $2 organization_id uuid, $3 name text,
-- $4 reason text
WITH paused AS (
    INSERT INTO queues AS queue (id, organization_id, name, settings)
    SELECT $1, $2, $3,
           jsonb_build_object('paused', true, 'paused_at', now(),
                              'paused_reason', $4::text)
     WHERE EXISTS (SELECT FROM queues WHERE organization_id = $2 AND name = $3)
        OR EXISTS (SELECT
                     FROM lanes
                    WHERE organization_id = $2
                      AND queue_name = $3
                      AND (NOT retired OR has_jobs(id)))
        ON CONFLICT (organization_id, name) DO UPDATE
       SET settings   = queue.settings || CASE
                            WHEN NOT queue.settings @> '{"paused": true}'
                            THEN excluded.settings
                            WHEN $4 IS NOT NULL
                            THEN jsonb_build_object('paused_reason', $4::text)
                            ELSE '{}' END,
           updated_at = now()
    RETURNING settings ->> 'paused_at' AS paused_at,
              settings ->> 'paused_reason' AS reason, updated_at
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $2, 'queue.paused', json_build_object('queue_name', $3, 'reason', reason)
      FROM paused
     WHERE paused_at = to_jsonb(now()) #>> '{}'
)
SELECT * FROM paused;

-- name: resume_queue
-- The queue's jobs may be claimed again, whatever kept them from it.  Returned is since
-- when it was paused, and now; null when it was not, nothing when nobody configured it.
-- $1 organization_id uuid, $2 name text
WITH before AS MATERIALIZED (
    SELECT id, paused, settings ->> 'paused_at' AS paused_at
      FROM queues
     WHERE organization_id = $1
       AND name = $2
       FOR UPDATE
), resumed AS (
    UPDATE queues
       SET settings   = settings - ARRAY['paused', 'paused_at', 'paused_reason'],
           enabled    = true,
           updated_at = now()
      FROM before
     WHERE queues.id = before.id
    RETURNING before.paused_at, before.paused, queues.updated_at
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, 'queue.resumed',
           json_build_object(
               'queue_name', $2,
               'paused_duration_secs', greatest(floor(extract(
                    epoch FROM now() - moment_of(paused_at))), 0)::bigint)
      FROM resumed
     WHERE paused
)
SELECT paused_at, updated_at FROM resumed;
