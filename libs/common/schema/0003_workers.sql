-- What workers, tenants with limits and jobs that wait for jobs need.

-- --- a worker's job: its lease stands in its own row ----------------------------------

-- Each job that a worker holds has its own deadline, because each is renewed and settled
-- by itself.  Null for push jobs: theirs is the batch's (`leases`).
ALTER TABLE leased
    ADD COLUMN owner      text,
    ADD COLUMN claimed_at timestamptz,
    ADD COLUMN deadline   timestamptz,
    ADD CONSTRAINT leased_to_a_worker_is_whole CHECK (
        (owner IS NULL) = (deadline IS NULL)
        AND (owner IS NULL) = (claimed_at IS NULL)
    );
CREATE INDEX leased_running_out_idx ON leased (deadline) WHERE deadline IS NOT NULL;

-- Only batches are left in `leases`.
DELETE FROM leases WHERE NOT push;
ALTER TABLE leases DROP COLUMN push;

-- How many jobs of a lane are where: for concurrency limits, quotas and statistics.
CREATE INDEX leased_in_lane_idx    ON leased (lane_id);
CREATE INDEX scheduled_in_lane_idx ON scheduled (lane_id);
CREATE INDEX waiting_in_lane_idx   ON waiting (lane_id);
CREATE INDEX held_in_lane_idx      ON held (lane_id);

ALTER TYPE death ADD VALUE 'given_up';
ALTER TYPE transition ADD VALUE 'blocked' BEFORE 'unblocked';
ALTER TYPE transition ADD VALUE 'reprioritized' AFTER 'unblocked';

-- A job that waits has not begun, but it may have a time before which it must not.
-- Who saw fewer edges than it has looked too early, and may not decide.
ALTER TABLE waiting
    DROP COLUMN open_parents,
    ADD COLUMN run_at timestamptz,
    ADD COLUMN edges  integer NOT NULL DEFAULT 1;

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
           NULL, NULL, NULL, NULL, NULL, NULL
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

-- Somebody may ask for what was created before 1970: no id is older than that.
CREATE OR REPLACE FUNCTION first_id_at(moment timestamptz)
RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(greatest(extract(epoch FROM moment), 0) * 1000)::bigint),
                 12, '0')
            || repeat('0', 20))::uuid
$$;

-- --- what lists show --------------------------------------------------------------------

-- A job as lists show it.
CREATE VIEW listed AS
SELECT jobs.id, jobs.organization_id, jobs.queue_name, jobs.job_type, jobs.max_retries,
       jobs.tags, jobs.created_at, standing.place, standing.rank, standing.attempt,
       standing.retry_count, standing.run_at, standing.started_at, standing.settled_at,
       standing.ending,
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
       ) AS failed ON true;

-- Whether a list that is asked for these has the job in it; null asks for all.
CREATE FUNCTION is_wanted(
    job listed, queue_names text[], statuses text[], tag text, job_type text,
    search text, created_after timestamptz, created_before timestamptz
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ($2 IS NULL OR job.queue_name = ANY ($2))
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

-- The jobs of an organization's queues (null: all) in these places, which are not
-- finished: walks its own lanes and nothing else.
CREATE FUNCTION open_jobs(organization uuid, queue_names text[], places text[])
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
       AND ($2 IS NULL OR lanes.queue_name = ANY ($2))
$$;

-- --- jobs that wait for jobs ----------------------------------------------------------

ALTER TABLE jobs ADD COLUMN parent_job_id uuid;

CREATE TYPE dependency_mode AS ENUM ('all', 'any');

-- The child waits for its parents: for all of them, or for any.
CREATE TABLE dependencies (
    child_id   uuid            NOT NULL,
    parent_id  uuid            NOT NULL,
    mode       dependency_mode NOT NULL DEFAULT 'all',
    created_at timestamptz     NOT NULL DEFAULT now(),

    PRIMARY KEY (child_id, parent_id),
    CONSTRAINT dependencies_are_on_others CHECK (child_id <> parent_id)
);
CREATE INDEX dependencies_of_parent_idx ON dependencies (parent_id);

-- Children to look at again, because a parent ended (or may have, unseen): written by
-- the statement that ends the parent, and gone when somebody has looked.  A statement
-- that was already ending a parent when a new edge was committed cannot have seen it, so
-- new edges are looked at *repeatedly*, until no such statement can be left.
CREATE TABLE rechecks (
    at         timestamptz NOT NULL DEFAULT now(),
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    child_id   uuid        NOT NULL,
    repeatedly boolean     NOT NULL DEFAULT false,

    PRIMARY KEY (at, id)
);

-- What a job may hope for of its parents: *met* when it may run, *hopeless* when it
-- never will.  A parent that is no more (its time to be kept is over) stops nobody.
CREATE FUNCTION hopes_of(child uuid)
RETURNS TABLE (edges integer, met boolean, hopeless boolean, youngest timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer,
           coalesce(bool_and(parent.done) FILTER (WHERE mode = 'all'), true)
           AND coalesce(bool_or(parent.done) FILTER (WHERE mode = 'any'), true),
           coalesce(bool_or(parent.lost) FILTER (WHERE mode = 'all'), false)
           OR coalesce(bool_and(parent.lost) FILTER (WHERE mode = 'any'), false),
           max(dependencies.created_at)
      FROM dependencies
     CROSS JOIN LATERAL (
            SELECT coalesce(ended.ending = 'completed',
                            NOT EXISTS (SELECT FROM jobs
                                         WHERE jobs.id = dependencies.parent_id)) AS done,
                   coalesce(ended.ending <> 'completed',
                            EXISTS (SELECT FROM dead
                                     WHERE dead.job_id = dependencies.parent_id)) AS lost
              FROM (SELECT 1) AS one
              LEFT JOIN finished AS ended ON ended.job_id = dependencies.parent_id
           ) AS parent
     WHERE dependencies.child_id = child
$$;

-- --- queues ---------------------------------------------------------------------------

ALTER TABLE queues
    -- Up to when the queue's rate is spent (GCRA): the next start is free after it.
    ADD COLUMN rate_spent_until timestamptz NOT NULL DEFAULT '-infinity',
    -- What every claim asks of its queue, ready to be read.
    ADD COLUMN paused boolean NOT NULL GENERATED ALWAYS AS (
        NOT enabled OR settings @> '{"paused": true}'
    ) STORED,
    ADD COLUMN concurrency integer GENERATED ALWAYS AS (
        CASE jsonb_typeof(settings -> 'concurrency') WHEN 'number' THEN
            least(greatest((settings ->> 'concurrency')::numeric, 1), 100000)::integer
        END
    ) STORED,
    ADD COLUMN limited boolean NOT NULL GENERATED ALWAYS AS (
        rate_limit IS NOT NULL
        OR jsonb_typeof(settings -> 'concurrency') IS NOT DISTINCT FROM 'number'
    ) STORED;

-- A queue that was deleted: its lanes stay for the history of their jobs, and come back
-- with the next job.
ALTER TABLE lanes
    ADD COLUMN retired   boolean     NOT NULL DEFAULT false,
    ADD COLUMN opened_at timestamptz NOT NULL DEFAULT now();

-- Whether jobs stand in a lane that are not over, dead letters among them.
CREATE FUNCTION has_jobs(lane integer)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM ready     WHERE ready.lane_id = lane)
        OR EXISTS (SELECT FROM scheduled WHERE scheduled.lane_id = lane)
        OR EXISTS (SELECT FROM leased    WHERE leased.lane_id = lane)
        OR EXISTS (SELECT FROM waiting   WHERE waiting.lane_id = lane)
        OR EXISTS (SELECT FROM held      WHERE held.lane_id = lane)
        OR EXISTS (SELECT FROM dead      WHERE dead.lane_id = lane)
$$;

-- What happened in a lane, counted while the journal is announced; a bucket is five
-- minutes, and in time a day.  The bucket at -infinity is all there ever was.
CREATE TABLE tallies (
    lane_id     integer          NOT NULL,
    bucket      timestamptz      NOT NULL,
    transition  transition       NOT NULL,
    jobs        bigint           NOT NULL,
    duration_ms double precision NOT NULL DEFAULT 0,
    wait_ms     double precision NOT NULL DEFAULT 0,

    PRIMARY KEY (lane_id, bucket, transition)
);
-- What was announced before there were tallies.
INSERT INTO tallies (lane_id, bucket, transition, jobs)
SELECT journal.lane_id, '-infinity', journal.transition, count(*)
  FROM journal
 CROSS JOIN announced
 WHERE (journal.xid, journal.seq) <= (announced.xid, announced.seq)
 GROUP BY journal.lane_id, journal.transition;
-- What may be folded into days: all but what begins a day.
CREATE INDEX tallies_fine_idx ON tallies (bucket)
 WHERE (bucket AT TIME ZONE 'UTC')::time <> '00:00';

-- How these lanes stand, exactly: what was counted, and what was not announced yet.
-- Open jobs are counted where they are.  Failed is who ended among the dead.
CREATE FUNCTION figures_of(lane_ids integer[])
RETURNS TABLE (
    ready_jobs bigint, oldest_ready_at timestamptz, scheduled_jobs bigint,
    retrying_jobs bigint, waiting_jobs bigint, held_jobs bigint, leased_jobs bigint,
    dead_jobs bigint, completed_jobs bigint, cancelled_jobs bigint, expired_jobs bigint,
    completed_24h bigint, failed_24h bigint, completed_ms_24h double precision,
    started_24h bigint, waited_ms_24h double precision,
    created_1h bigint, completed_1h bigint, failed_1h bigint
) LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    WITH unannounced AS MATERIALIZED (
        SELECT news.*
          FROM announced
         CROSS JOIN LATERAL (
                SELECT lane_id, at, transition,
                       (details ->> 'duration_ms')::double precision AS duration_ms,
                       (details ->> 'waited_ms')::double precision AS wait_ms
                  FROM journal
                 WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)
                 ORDER BY journal.xid, journal.seq
                 LIMIT 1000000000
               ) AS news
         WHERE news.lane_id = ANY (lane_ids)
    ), told AS (
        SELECT bucket, transition, jobs, duration_ms, wait_ms
          FROM tallies
         WHERE lane_id = ANY (lane_ids)
           AND bucket = '-infinity'
        UNION ALL
        SELECT bucket, transition, jobs, duration_ms, wait_ms
          FROM tallies
         WHERE lane_id = ANY (lane_ids)
           AND bucket >= now() - interval '24 hours'
        UNION ALL
        SELECT '-infinity', transition, 1, duration_ms, wait_ms
          FROM unannounced
        UNION ALL
        SELECT at, transition, 1, duration_ms, wait_ms
          FROM unannounced
         WHERE at >= now() - interval '24 hours'
    ), counted AS (
        SELECT transition, bucket = '-infinity' AS ever,
               bucket >= now() - interval '1 hour' AS lately,
               transition IN ('deadlettered', 'quarantined') AS failed,
               jobs, duration_ms, wait_ms
          FROM told
    ), happened AS (
        SELECT coalesce(sum(jobs) FILTER (WHERE ever AND transition = 'completed'), 0),
               coalesce(sum(jobs) FILTER (WHERE ever AND transition = 'cancelled'), 0),
               coalesce(sum(jobs) FILTER (WHERE ever AND transition = 'expired'), 0),
               coalesce(sum(jobs) FILTER (WHERE NOT ever AND transition = 'completed'), 0),
               coalesce(sum(jobs) FILTER (WHERE NOT ever AND failed), 0),
               sum(duration_ms) FILTER (WHERE NOT ever AND transition = 'completed'),
               coalesce(sum(jobs) FILTER (WHERE NOT ever AND transition = 'started'), 0),
               sum(wait_ms) FILTER (WHERE NOT ever AND transition = 'started'),
               coalesce(sum(jobs) FILTER (WHERE lately AND transition = 'created'), 0),
               coalesce(sum(jobs) FILTER (WHERE lately AND transition = 'completed'), 0),
               coalesce(sum(jobs) FILTER (WHERE lately AND failed), 0)
          FROM counted
    )
    SELECT in_ready.*, in_scheduled.*,
           (SELECT count(*) FROM waiting WHERE lane_id = ANY (lane_ids)),
           (SELECT count(*) FROM held WHERE lane_id = ANY (lane_ids)),
           (SELECT count(*) FROM leased WHERE lane_id = ANY (lane_ids)),
           (SELECT count(*) FROM dead WHERE lane_id = ANY (lane_ids)),
           happened.*
      FROM happened
     CROSS JOIN (SELECT count(*), min(ready_at) FROM ready WHERE lane_id = ANY (lane_ids))
           AS in_ready
     CROSS JOIN (SELECT count(*) FILTER (WHERE retry_count = 0),
                        count(*) FILTER (WHERE retry_count > 0)
                   FROM scheduled WHERE lane_id = ANY (lane_ids)) AS in_scheduled
$$;

-- --- workers --------------------------------------------------------------------------

-- Who says to be a worker.  A claim needs no row here.
CREATE TABLE workers (
    id                text        PRIMARY KEY,
    organization_id   uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    queue_name        text        NOT NULL,
    hostname          text        NOT NULL,
    worker_type       text,
    max_concurrency   integer     NOT NULL DEFAULT 5,
    current_jobs      integer     NOT NULL DEFAULT 0,
    status            text        NOT NULL DEFAULT 'healthy',
    version           text,
    metadata          jsonb       NOT NULL DEFAULT '{}',
    jobs_processed    bigint      NOT NULL DEFAULT 0,
    jobs_failed       bigint      NOT NULL DEFAULT 0,
    last_heartbeat_at timestamptz NOT NULL DEFAULT now(),
    registered_at     timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT workers_status_is_known
        CHECK (status IN ('healthy', 'degraded', 'draining', 'offline'))
);
CREATE INDEX workers_of_organization_idx ON workers (organization_id, registered_at);
CREATE INDEX workers_falling_silent_idx ON workers (last_heartbeat_at) WHERE status <> 'offline';

-- --- organizations --------------------------------------------------------------------

ALTER TABLE organizations
    -- What an operator's own billing calls them; we only keep it.
    ADD COLUMN stripe_customer_id     text,
    ADD COLUMN stripe_subscription_id text,
    -- Since when it is to be gone with all its jobs: only a husk, out of everybody's
    -- sight, until nothing is left of it.
    ADD COLUMN erased_at              timestamptz;
CREATE INDEX organizations_to_erase_idx ON organizations (erased_at) WHERE erased_at IS NOT NULL;

-- --- who asks, and how much -------------------------------------------------------------

-- A sign-in.  Its tokens carry its id and die with it.
CREATE TABLE sessions (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    api_key_id      uuid        NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    email           text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz
);
CREATE INDEX sessions_ending_idx ON sessions (expires_at);

-- Six digits that were mailed to somebody; only their HMAC is kept.
CREATE TABLE login_codes (
    id         uuid        PRIMARY KEY,
    email      text        NOT NULL,
    code_hmac  bytea       NOT NULL,
    tries      smallint    NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX login_codes_of_email_idx ON login_codes (email, created_at);

-- Jobs that an organization with a daily limit created on a day (UTC).
CREATE TABLE daily_usage (
    organization_id uuid    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    day             date    NOT NULL,
    jobs            integer NOT NULL DEFAULT 0,

    PRIMARY KEY (organization_id, day)
);

-- Up to when a caller's rate is spent (GCRA).  Replicas of ingest take from it in small
-- pieces.  Forgotten in a crash: everybody's allowance is full again.
CREATE UNLOGGED TABLE allowances (
    subject       text             PRIMARY KEY,
    spent_until   timestamptz      NOT NULL,
    -- What was asked for last: how long one piece takes to grow back, how many there
    -- are at most, and how many were given.
    piece_seconds double precision NOT NULL,
    burst         integer          NOT NULL,
    granted       integer          NOT NULL
) WITH (fillfactor = 50);

-- Whose organization is whose e-mail address: in whatever case it is written, one has it.
-- Closed organizations have none.
UPDATE organizations SET billing_email = NULL WHERE plan_tier = 'deleted';
UPDATE organizations
   SET billing_email = lower(billing_email)
 WHERE billing_email <> lower(billing_email)
   AND NOT EXISTS (SELECT FROM organizations AS other
                    WHERE lower(other.billing_email) = lower(organizations.billing_email)
                      AND other.id <> organizations.id);
CREATE INDEX organizations_of_email_idx ON organizations (lower(billing_email));
