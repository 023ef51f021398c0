-- What is told to the outside: by outgoing webhooks, and when a job ends.

-- --- notices --------------------------------------------------------------------------

-- What happened to queues, workers, endpoints, schedules and workflows: written by the
-- statement (or in the transaction) that makes it happen, read in (xid, seq) order as
-- the journal is.
CREATE SEQUENCE notices_seq;
CREATE TABLE notices (
    seq             bigint      NOT NULL DEFAULT nextval('notices_seq'),
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    organization_id uuid        NOT NULL,
    -- 'queue.paused', 'worker.registered', 'endpoint.disabled', …
    event           text        NOT NULL,
    data            json        NOT NULL,
    at              timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (xid, seq)
);
CREATE INDEX notices_old_idx ON notices (at);

-- How far they were told, and how far the journal was.
ALTER TABLE announced
    ADD COLUMN notices_xid xid8   NOT NULL DEFAULT '0',
    ADD COLUMN notices_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN tell_xid    xid8   NOT NULL DEFAULT '0',
    ADD COLUMN tell_seq    bigint NOT NULL DEFAULT 0;
-- Until now there was nobody to be told.
UPDATE announced SET tell_xid = xid, tell_seq = seq;

-- --- outgoing webhooks ----------------------------------------------------------------

-- Who is told what happens in an organization.
CREATE INDEX endpoints_outgoing_idx ON endpoints (organization_id, id)
 WHERE kind = 'outgoing' AND deleted_at IS NULL;

-- How an outgoing webhook's deliveries end, whole ones and not their attempts: counted
-- while the journal is told.
CREATE TABLE outgoing_standing (
    endpoint_id       uuid    PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
    -- Deliveries given up since one arrived.
    failure_count     integer NOT NULL DEFAULT 0,
    last_status       text,
    last_triggered_at timestamptz,

    CONSTRAINT outgoing_standing_status_is_known
        CHECK (last_status IN ('success', 'failed', 'auto_disabled'))
) WITH (fillfactor = 50);

-- Whether jobs that are pushed from a queue tell others of jobs: of them nobody is told,
-- or that would never end; they count for no plan; and they are seen by whoever asks for
-- their queue by name.
CREATE FUNCTION is_telling(queue_name text, pushed boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pushed AND queue_name = 'outgoing-webhooks';

ALTER TABLE lanes
    ADD COLUMN telling boolean NOT NULL
        GENERATED ALWAYS AS (is_telling(queue_name, destination <> '')) STORED;

-- --- completion webhooks --------------------------------------------------------------

-- Jobs whose end is told to a URL of their own, once.
CREATE TABLE completion_webhooks (
    job_id uuid  PRIMARY KEY,
    url    text  NOT NULL,
    -- Whom the URL reaches: deliveries to one origin share a lane.
    origin text  NOT NULL,
    -- What signs, sealed for the job.
    sealed bytea
);

-- Which job's end it tells.
ALTER TABLE jobs ADD COLUMN completion_of uuid;

-- --- what lists show --------------------------------------------------------------------

-- As before, and whether it tells of other jobs: see 0003.
CREATE OR REPLACE VIEW listed AS
SELECT jobs.id, jobs.organization_id, jobs.queue_name, jobs.job_type, jobs.max_retries,
       jobs.tags, jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, standing.run_at, standing.started_at, standing.settled_at,
       standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       is_telling(jobs.queue_name,
                  jobs.endpoint_id IS NOT NULL OR jobs.target_url IS NOT NULL) AS telling
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
       ) AS failed ON true;

-- As before, but jobs that tell of others only where their queue is asked for.
CREATE OR REPLACE FUNCTION is_wanted(
    job listed, queue_names text[], statuses text[], tag text, job_type text,
    search text, created_after timestamptz, created_before timestamptz
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $2 IS NULL THEN NOT job.telling ELSE job.queue_name = ANY ($2) END
       AND ($3 IS NULL OR job.status = ANY ($3))
       AND ($4 IS NULL OR job.tags ? $4)
       AND ($5 IS NULL OR job.job_type = $5)
       AND ($6 IS NULL
            OR starts_with(job.id::text, lower($6))
            OR strpos(lower(job.queue_name), lower($6)) > 0
            OR strpos(lower(job.job_type), lower($6)) > 0)
       AND ($7 IS NULL OR job.created_at >= $7)
       AND ($8 IS NULL OR job.created_at < $8)
$$;

-- The same for those that are not finished.
CREATE OR REPLACE FUNCTION open_jobs(organization uuid, queue_names text[], places text[])
RETURNS TABLE (job_id uuid) LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT standing.job_id
      FROM lanes
     CROSS JOIN LATERAL (
            SELECT job_id FROM ready
             WHERE lane_id = lanes.id AND 'ready' = ANY (places)
            UNION ALL
            SELECT job_id FROM scheduled
             WHERE lane_id = lanes.id AND 'scheduled' = ANY (places)
            UNION ALL
            SELECT job_id FROM waiting
             WHERE lane_id = lanes.id AND 'waiting' = ANY (places)
            UNION ALL
            SELECT job_id FROM held
             WHERE lane_id = lanes.id AND 'held' = ANY (places)
            UNION ALL
            SELECT job_id FROM leased
             WHERE lane_id = lanes.id AND 'leased' = ANY (places)
            UNION ALL
            SELECT job_id FROM dead
             WHERE lane_id = lanes.id AND 'dead' = ANY (places)
           ) AS standing
     WHERE lanes.organization_id = organization
       AND CASE WHEN $2 IS NULL THEN NOT lanes.telling
                ELSE lanes.queue_name = ANY ($2) END
$$;

-- --- what is written in settings --------------------------------------------------------

-- The moment that a text spells, or null: in settings anything may stand.
CREATE FUNCTION moment_of(written text)
RETURNS timestamptz LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    moment timestamptz;
BEGIN
    moment := written;
    RETURN CASE WHEN isfinite(moment) THEN moment END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
