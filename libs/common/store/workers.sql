-- name: count_others_up
-- How many workers of an organization are up (healthy or degraded) beside one.
-- $1 organization_id uuid, $2 worker id text
SELECT count(*)::int
  FROM workers
 WHERE organization_id = $1
   AND id <> $2
   AND status IN ('healthy', 'degraded');

-- name: count_up_in_queue
-- How many workers of a queue are up.
-- $1 organization_id uuid, $2 queue_name text
SELECT count(*)::int
  FROM workers
 WHERE organization_id = $1
   AND queue_name = $2
   AND status IN ('healthy', 'degraded');

-- name: register
-- A worker comes, or comes back: what it says replaces what it said.  Nothing is
-- returned when the id is somebody else's.
-- $1 id text, $2 organization_id uuid, $3 queue_name text, $4 hostname text, $5
-- worker_type text, $6 max_concurrency int, $7 version text, $8 metadata text (JSON),
-- $9 queue names text[] that the caller may touch, null for all
WITH before AS MATERIALIZED (
    SELECT FROM workers WHERE id = $1 AND status <> 'offline'
), entered AS (
    INSERT INTO workers AS worker (id, organization_id, queue_name, hostname, worker_type,
                                   max_concurrency, version, metadata)
    VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8::text::jsonb, '{}'))
        ON CONFLICT (id) DO UPDATE
       SET queue_name        = excluded.queue_name,
           hostname          = excluded.hostname,
           worker_type       = excluded.worker_type,
           max_concurrency   = excluded.max_concurrency,
           version           = excluded.version,
           metadata          = excluded.metadata,
           current_jobs      = 0,
           status            = 'healthy',
           last_heartbeat_at = now(),
           updated_at        = now()
     WHERE worker.organization_id = $2
       AND ($9::text[] IS NULL OR worker.queue_name = ANY ($9))
    RETURNING id
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $2, 'worker.registered',
           json_build_object('worker_id', id, 'queue_name', $3, 'hostname', $4)
      FROM entered
     WHERE NOT EXISTS (SELECT FROM before)
)
SELECT id FROM entered;

-- name: note_heartbeat
-- A sign of life; null keeps what is there, but nobody who lives is offline.  Returned
-- are its queue and its status.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 worker id text,
-- $4 current_jobs int, $5 status text, $6 metadata text (JSON), $7 whether a worker
-- that drains goes on draining, whatever it says boolean
WITH before AS MATERIALIZED (
    SELECT id, status
      FROM workers
     WHERE id = $3
       AND organization_id = $1
       AND ($2::text[] IS NULL OR queue_name = ANY ($2))
       FOR NO KEY UPDATE
), seen AS (
    UPDATE workers
       SET current_jobs      = $4,
           status            = CASE WHEN $7 AND before.status = 'draining'
                                    THEN before.status
                                    ELSE coalesce($5, nullif(before.status, 'offline'),
                                                  'healthy') END,
           metadata          = coalesce($6::text::jsonb, metadata),
           last_heartbeat_at = now(),
           updated_at        = now()
      FROM before
     WHERE workers.id = before.id
    RETURNING workers.id, queue_name, hostname, workers.status,
              before.status AS old_status
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, 'worker.status_changed',
           json_build_object('worker_id', id, 'queue_name', queue_name,
                             'hostname', hostname, 'old_status', old_status,
                             'status', status)
      FROM seen
     WHERE status <> old_status
)
SELECT queue_name, status FROM seen;

-- name: sign_off
-- A worker goes: it is offline, and stays to be seen for a while.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 worker id text
WITH before AS MATERIALIZED (
    SELECT id, status
      FROM workers
     WHERE id = $3
       AND organization_id = $1
       AND ($2::text[] IS NULL OR queue_name = ANY ($2))
       FOR UPDATE
), gone AS (
    UPDATE workers
       SET status = 'offline', current_jobs = 0, updated_at = now()
     WHERE id = (SELECT id FROM before)
    RETURNING id, queue_name, hostname
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT $1, 'worker.deregistered',
           json_build_object('worker_id', gone.id, 'queue_name', gone.queue_name,
                             'hostname', gone.hostname)
      FROM gone
      JOIN before ON before.id = gone.id
     WHERE before.status <> 'offline'
)
SELECT id FROM gone;

-- name: read_worker
-- One worker.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 worker id text
SELECT *
  FROM workers
 WHERE id = $3
   AND organization_id = $1
   AND ($2::text[] IS NULL OR queue_name = ANY ($2));

-- name: list_workers
-- Workers of an organization, those that are up first, then the latest come.
-- $1 organization_id uuid, $2 queue names text[] or null for all, $3 limit int, $4
-- offset int
SELECT *
  FROM workers
 WHERE organization_id = $1
   AND ($2::text[] IS NULL OR queue_name = ANY ($2))
 ORDER BY status = 'offline', registered_at DESC, id
 LIMIT $3 OFFSET $4;

-- name: mark_silent
-- Workers that have not shown themselves for $1 are offline.
-- $1 silence interval, $2 limit int
WITH silent AS MATERIALIZED (
    SELECT id
      FROM workers
     WHERE status <> 'offline'
       AND last_heartbeat_at < now() - $1::interval
     ORDER BY last_heartbeat_at
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE workers
       SET status = 'offline', current_jobs = 0, updated_at = now()
     WHERE id = ANY (ARRAY(SELECT id FROM silent))
    RETURNING organization_id, id, queue_name, hostname
), noted AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'worker.offline',
           json_build_object('worker_id', id, 'queue_name', queue_name,
                             'hostname', hostname)
      FROM marked
)
SELECT organization_id, id FROM marked;

-- name: forget_gone
-- Workers that have been offline for $1 leave the lists.
-- $1 absence interval, $2 limit int
WITH gone AS MATERIALIZED (
    SELECT id
      FROM workers
     WHERE status = 'offline'
       AND updated_at < now() - $1::interval
     ORDER BY id
     LIMIT $2
       FOR UPDATE SKIP LOCKED
)
DELETE FROM workers WHERE id = ANY (ARRAY(SELECT id FROM gone));
