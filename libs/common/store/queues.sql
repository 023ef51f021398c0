-- name: read_queue
-- $1 organization_id uuid, $2 name text
SELECT * FROM queues WHERE organization_id = $1 AND name = $2;

-- name: is_queue_used
-- Whether the queue ever had a job.
-- $1 organization_id uuid, $2 name text
SELECT EXISTS (
    SELECT FROM lanes WHERE organization_id = $1 AND queue_name = $2
);

-- name: configure_queue
-- Create or change a queue's configuration; null keeps what is there, settings merge.
-- $1 id uuid (for a new one), $2 organization_id uuid, $3 name text, $4 max_retries
-- smallint, $5 default_timeout int (s), $6 rate_limit int, $7 enabled boolean,
-- $8 settings text (JSON object)
INSERT INTO queues AS queue (id, organization_id, name, max_retries, default_timeout,
                             rate_limit, enabled, settings)
VALUES ($1, $2, $3, coalesce($4, 3), coalesce($5, 300), $6, coalesce($7, true),
        coalesce($8::text::jsonb, '{}'))
    ON CONFLICT (organization_id, name) DO UPDATE
   SET max_retries     = coalesce($4, queue.max_retries),
       default_timeout = coalesce($5, queue.default_timeout),
       rate_limit      = coalesce($6, queue.rate_limit),
       enabled         = coalesce($7, queue.enabled),
       settings        = queue.settings || coalesce($8::text::jsonb, '{}'),
       updated_at      = now()
RETURNING *;
