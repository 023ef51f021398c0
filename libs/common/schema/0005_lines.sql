-- Jobs that take turns: those that share a key run one after the other.

-- Who stands in line, first come first served: *position* is given by the database when a
-- job joins, so that what a producer hands in later comes later whatever the clocks say.
-- Until its turn comes a job is `held`; *called* is whose turn it is, from then on until
-- the job has ended for good: the turn belongs to the job and not to who works on it.
CREATE TABLE lines (
    job_id   uuid    PRIMARY KEY,
    -- What the key belongs to: 'endpoint:<id>', or 'queue:<organization>:<name>'.
    scope    text    NOT NULL,
    key      text    NOT NULL,
    position bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    called   boolean NOT NULL DEFAULT false
);
CREATE INDEX lines_waiting_idx ON lines (scope, key, position) WHERE NOT called;
CREATE INDEX lines_called_idx  ON lines (scope, key) WHERE called;

-- Lines to look at, because somebody joined or left: written by the statement that does
-- it, gone when somebody has looked.
CREATE TABLE line_checks (
    id    bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    scope text   NOT NULL,
    key   text   NOT NULL
);

-- Rows here live for a job's time at most: vacuum by count (see 0002).
ALTER TABLE lines       SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE line_checks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- A job remembers its line: it joins again when it is requeued, or need no longer wait
-- for other jobs.
ALTER TABLE jobs
    ADD COLUMN line_scope text,
    ADD COLUMN line_key   text,
    ADD CONSTRAINT jobs_line_is_whole CHECK ((line_scope IS NULL) = (line_key IS NULL));

-- A job that is held may have a time before which it must not run.
ALTER TABLE held ADD COLUMN run_at timestamptz;

-- How many jobs of one key may be in work at once.
ALTER TABLE queues
    ADD COLUMN concurrency_per_key integer NOT NULL GENERATED ALWAYS AS (
        CASE jsonb_typeof(settings -> 'concurrency_per_key') WHEN 'number' THEN
            least(greatest((settings ->> 'concurrency_per_key')::numeric, 1), 100000)::integer
        ELSE 1 END
    ) STORED;

-- The scope of a queue's keys.
CREATE FUNCTION scope_of(organization_id uuid, queue_name text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT 'queue:' || organization_id::text || ':' || queue_name
$$;

-- How many of a line may be called at once: what its queue says, as it is now; of an
-- endpoint's one.
CREATE FUNCTION width_of(scope text)
RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((
        SELECT concurrency_per_key
          FROM queues
         WHERE starts_with(scope, 'queue:')
           AND queues.organization_id = split_part(scope, ':', 2)::uuid
           AND queues.name = split_part(scope, ':', 3)), 1)
$$;

CREATE OR REPLACE VIEW places AS
    SELECT job_id, 'ready' AS place, lane_id, rank, attempt, retry_count,
           NULL::uuid AS lease_id, NULL::timestamptz AS run_at,
           NULL::timestamptz AS started_at, NULL::timestamptz AS settled_at,
           NULL::text AS ending, NULL::text AS last_error
      FROM ready
UNION ALL
    SELECT job_id, 'scheduled', lane_id, rank, attempt, retry_count,
           NULL, run_at, NULL, NULL, NULL, NULL
      FROM scheduled
UNION ALL
    SELECT job_id, 'waiting', lane_id, rank, 0::smallint, 0::smallint,
           NULL, run_at, NULL, NULL, NULL, NULL
      FROM waiting
UNION ALL
    SELECT job_id, 'held', lane_id, rank, attempt, retry_count,
           NULL, run_at, NULL, NULL, NULL, NULL
      FROM held
UNION ALL
    SELECT job_id, 'leased', lane_id, rank, attempt, retry_count,
           lease_id, NULL, claimed_at, NULL, NULL, NULL
      FROM leased
UNION ALL
    SELECT job_id, 'finished', lane_id, rank, attempt, retry_count,
           NULL, NULL, started_at, finished_at, ending::text, NULL
      FROM finished
UNION ALL
    SELECT job_id, 'dead', lane_id, rank, attempt, retry_count,
           NULL, NULL, started_at, died_at, reason::text, last_error
      FROM dead;
