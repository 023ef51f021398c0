-- Jobs that belong together: workflows, and what leads from one of their jobs to another.

CREATE TABLE workflows (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            text        NOT NULL,
    description     text,
    metadata        jsonb,
    -- What becomes of its other jobs when one has failed.
    policy          text        NOT NULL DEFAULT 'continue',
    state           text        NOT NULL DEFAULT 'pending',
    -- Counts what changed it by hand: who saw another number has looked too early, and
    -- decides nothing.
    round           integer     NOT NULL DEFAULT 1,
    -- The queues of its jobs: who may touch only some of them does not see it.
    queue_names     text[]      NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    -- How many jobs it has; and how they ended, from when all of them have.
    total_jobs      integer     NOT NULL,
    completed_jobs  integer     NOT NULL DEFAULT 0,
    failed_jobs     integer     NOT NULL DEFAULT 0,
    cancelled_jobs  integer     NOT NULL DEFAULT 0,
    skipped_jobs    integer     NOT NULL DEFAULT 0,

    CONSTRAINT workflows_policy_is_known CHECK (policy IN ('continue', 'fail_fast')),
    CONSTRAINT workflows_state_is_known
        CHECK (state IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT workflows_finished_has_time
        CHECK ((state IN ('pending', 'running')) = (finished_at IS NULL))
);
CREATE INDEX workflows_of_organization_idx ON workflows (organization_id, id);
CREATE INDEX workflows_open_idx ON workflows (organization_id)
 WHERE state IN ('pending', 'running');

CREATE TABLE workflow_jobs (
    workflow_id uuid    NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    key         text    NOT NULL,
    job_id      uuid    NOT NULL,
    -- It was cancelled because nobody needs it: it was for the failure of a job that has
    -- completed.  That is no failure.
    skipped     boolean NOT NULL DEFAULT false,

    PRIMARY KEY (workflow_id, key),
    CONSTRAINT workflow_jobs_belong_to_one UNIQUE (job_id)
);

ALTER TABLE jobs ADD COLUMN workflow_id uuid;

-- What a child waits for: that its parent completes, ends in whatever way, or fails.
CREATE TYPE dependency_kind AS ENUM ('success', 'completion', 'failure');
ALTER TABLE dependencies ADD COLUMN kind dependency_kind NOT NULL DEFAULT 'success';

-- What a job may hope for of its parents: *met* when it may run, *hopeless* when it
-- never will, and then *pointless* when that is no failure: nobody needs it.  A parent
-- that is no more (its time to be kept is over) stops nobody.
DROP FUNCTION hopes_of(uuid);
CREATE FUNCTION hopes_of(child uuid)
RETURNS TABLE (
    edges integer, met boolean, hopeless boolean, pointless boolean, youngest timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer,
           coalesce(bool_and(edge.good) FILTER (WHERE mode = 'all'), true)
           AND coalesce(bool_or(edge.good) FILTER (WHERE mode = 'any'), true),
           coalesce(bool_or(edge.bad) FILTER (WHERE mode = 'all'), false)
           OR coalesce(bool_and(edge.bad) FILTER (WHERE mode = 'any'), false),
           NOT coalesce(bool_or(edge.bad AND fate = 'lost'), false),
           max(dependencies.created_at)
      FROM dependencies
     CROSS JOIN LATERAL (
            SELECT CASE
                   WHEN ended.ending = 'completed' THEN 'done'
                   WHEN ended.ending = 'cancelled'
                        AND EXISTS (SELECT FROM workflow_jobs
                                     WHERE workflow_jobs.job_id = dependencies.parent_id
                                       AND skipped) THEN 'skipped'
                   WHEN ended.ending IS NOT NULL THEN 'lost'
                   WHEN NOT EXISTS (SELECT FROM jobs
                                     WHERE jobs.id = dependencies.parent_id) THEN 'gone'
                   WHEN EXISTS (SELECT FROM dead
                                 WHERE dead.job_id = dependencies.parent_id) THEN 'lost'
                   ELSE 'open' END AS fate
              FROM (SELECT 1) AS one
              LEFT JOIN finished AS ended ON ended.job_id = dependencies.parent_id
           ) AS parent
     CROSS JOIN LATERAL (
            SELECT CASE kind
                   WHEN 'success'    THEN fate IN ('gone', 'done')
                   WHEN 'completion' THEN fate <> 'open'
                   WHEN 'failure'    THEN fate IN ('gone', 'lost') END AS good,
                   CASE kind
                   WHEN 'success'    THEN fate IN ('lost', 'skipped')
                   WHEN 'completion' THEN false
                   WHEN 'failure'    THEN fate IN ('done', 'skipped') END AS bad
           ) AS edge
     WHERE dependencies.child_id = child
$$;

-- Whether a workflow has jobs that are not over.  The latest are looked at first: they
-- are over last.
CREATE FUNCTION has_open_jobs(workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM (SELECT job_id
                  FROM workflow_jobs
                 WHERE workflow_id = workflow
                 ORDER BY job_id DESC
                OFFSET 0) AS mine
         WHERE NOT EXISTS (SELECT FROM finished WHERE finished.job_id = mine.job_id)
           AND NOT EXISTS (SELECT FROM dead WHERE dead.job_id = mine.job_id)
           AND EXISTS (SELECT FROM jobs WHERE jobs.id = mine.job_id))
$$;

-- How many of a workflow's jobs have come how far.  One that is no more has failed: it
-- was a dead letter.
CREATE FUNCTION progress_of(workflow uuid)
RETURNS TABLE (
    completed integer, failed integer, cancelled integer, skipped integer,
    processing integer, pending integer
) LANGUAGE sql STABLE AS $$
    SELECT (count(*) FILTER (WHERE fate = 'completed'))::integer,
           (count(*) FILTER (WHERE fate = 'failed'))::integer,
           (count(*) FILTER (WHERE fate = 'cancelled'))::integer,
           (count(*) FILTER (WHERE fate = 'skipped'))::integer,
           (count(*) FILTER (WHERE fate = 'processing'))::integer,
           (count(*) FILTER (WHERE fate = 'pending'))::integer
      FROM workflow_jobs
     CROSS JOIN LATERAL (
            SELECT CASE
                   WHEN ended.ending = 'completed' THEN 'completed'
                   WHEN ended.ending = 'cancelled' AND workflow_jobs.skipped THEN 'skipped'
                   WHEN ended.ending = 'cancelled' THEN 'cancelled'
                   WHEN ended.ending = 'expired' THEN 'failed'
                   WHEN EXISTS (SELECT FROM dead WHERE dead.job_id = workflow_jobs.job_id)
                        THEN 'failed'
                   WHEN EXISTS (SELECT FROM leased
                                 WHERE leased.job_id = workflow_jobs.job_id)
                        THEN 'processing'
                   WHEN EXISTS (SELECT FROM jobs WHERE jobs.id = workflow_jobs.job_id)
                        THEN 'pending'
                   ELSE 'failed' END AS fate
              FROM (SELECT 1) AS one
              LEFT JOIN finished AS ended ON ended.job_id = workflow_jobs.job_id
           ) AS standing
     WHERE workflow_id = workflow
$$;

-- Whether one of a workflow's jobs has failed.
CREATE FUNCTION has_failed_jobs(workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM (SELECT job_id FROM workflow_jobs WHERE workflow_id = workflow OFFSET 0)
               AS mine
         WHERE EXISTS (SELECT FROM dead WHERE dead.job_id = mine.job_id)
            OR EXISTS (SELECT FROM finished
                        WHERE finished.job_id = mine.job_id AND ending = 'expired'))
$$;

-- The jobs of a workflow on which nobody works and that are not over; of those that wait
-- for what becomes of another, whatever that is or just for its failure, only if
-- *everything* is asked for.
CREATE FUNCTION idle_jobs(workflow uuid, everything boolean)
RETURNS TABLE (job_id uuid) LANGUAGE sql STABLE AS $$
    SELECT mine.job_id
      FROM (SELECT workflow_jobs.job_id
              FROM workflow_jobs
             WHERE workflow_id = workflow
             ORDER BY workflow_jobs.job_id
            OFFSET 0) AS mine
     WHERE (EXISTS (SELECT FROM ready     WHERE ready.job_id = mine.job_id)
         OR EXISTS (SELECT FROM scheduled WHERE scheduled.job_id = mine.job_id)
         OR EXISTS (SELECT FROM waiting   WHERE waiting.job_id = mine.job_id)
         OR EXISTS (SELECT FROM held      WHERE held.job_id = mine.job_id))
       AND (everything
            OR NOT EXISTS (SELECT FROM dependencies
                            WHERE child_id = mine.job_id AND kind <> 'success'))
$$;

CREATE OR REPLACE VIEW listed AS
SELECT jobs.id, jobs.organization_id, jobs.queue_name, jobs.job_type, jobs.max_retries,
       jobs.tags, jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, coalesce(standing.run_at, jobs.scheduled_at) AS run_at,
       standing.started_at, standing.settled_at, standing.ending,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       coalesce(standing.last_error, failed.error) AS last_error,
       is_telling(jobs.queue_name,
                  jobs.endpoint_id IS NOT NULL OR jobs.target_url IS NOT NULL) AS telling,
       jobs.workflow_id
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

-- --- what one job hands to the next ---------------------------------------------------

-- Whether the payload has references to the results of its parents.
ALTER TABLE jobs ADD COLUMN refers boolean NOT NULL DEFAULT false;

-- What a receiver answered, as JSON: as it is if it is JSON, else as a text.
CREATE FUNCTION spelled_of(body bytea)
RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(body, 'UTF8')::json;
EXCEPTION WHEN data_exception THEN
    BEGIN
        RETURN to_json(convert_from(body, 'UTF8'));
    EXCEPTION WHEN data_exception THEN
        RETURN to_json(encode(body, 'base64'));
    END;
END
$$;

-- What a job gave: its result, or what the receiver of a push job answered last.
CREATE FUNCTION result_of(job uuid)
RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT result FROM finished WHERE finished.job_id = job),
        (SELECT json_build_object('status', status_code, 'body', spelled_of(response_body))
           FROM attempts
          WHERE attempts.job_id = job
            AND status_code IS NOT NULL
          ORDER BY attempt DESC
          LIMIT 1))
$$;

-- What stands for a reference in a payload, as JSON text: what the parent of that key
-- gave, at that path.  Null where there is nothing; what is over 64 KiB is only named.
-- Inside of a longer text, or as a name, it is a text.
CREATE FUNCTION referred(reference text, workflow uuid)
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    alone boolean := starts_with(reference, '"');
    parts text[]  := regexp_match(
        reference, 'parents\.([A-Za-z0-9_-]+)\.result((?:\.[A-Za-z0-9_-]+)*)');
    job   uuid    := (SELECT job_id FROM workflow_jobs
                       WHERE workflow_id = workflow AND key = parts[1]);
    given text;
BEGIN
    BEGIN
        given := trim(E' \t\r\n' FROM (
            result_of(job) #> string_to_array(ltrim(parts[2], '.'), '.'))::text);
        IF octet_length(given) > 65536 THEN
            given := json_build_object('too_large', true, 'bytes', octet_length(given),
                                       'job_id', job)::text;
        END IF;
    EXCEPTION WHEN data_exception THEN
        given := NULL;
    END;
    IF alone THEN
        RETURN coalesce(given, 'null');
    ELSIF given IS NULL OR given = 'null' THEN
        RETURN '';
    ELSIF NOT starts_with(given, '"') THEN
        given := to_json(given)::text;
    END IF;
    RETURN substr(given, 2, length(given) - 2);
END
$$;

-- A payload with what its references stand for; each is replaced once, and what comes in
-- is not looked at again.  A text that is nothing but a reference becomes what it stands
-- for, whatever that is.
CREATE FUNCTION resolved(payload json, workflow uuid)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    one   CONSTANT text   := '\{\{ *parents\.[A-Za-z0-9_-]+\.result(?:\.[A-Za-z0-9_-]+)* *\}\}';
    every CONSTANT text   := '(?<!\\)"' || one || '"(?!\s*:)|' || one;
    pieces         text[] := regexp_split_to_array(payload::text, every);
    marks          text[] := ARRAY(SELECT mark[1]
                                     FROM regexp_matches(payload::text,
                                                         '(' || every || ')', 'g') AS mark);
    whole          text   := pieces[1];
BEGIN
    FOR i IN 1 .. cardinality(marks) LOOP
        whole := whole || referred(marks[i], workflow) || pieces[i + 1];
    END LOOP;
    RETURN whole::json;
EXCEPTION WHEN data_exception THEN
    RETURN payload;
END
$$;
