-- A job is where it is: its state is the table it stands in, and it stands in exactly
-- one of ready, scheduled, waiting, held, leased, finished and dead.
--
-- The hot places are narrow, are only inserted into and deleted from, and carry no
-- foreign key, no trigger and no index on a state.  The body is written once.

-- The immutable body.  Ids are UUIDv7, so a week is a range of ids and retention is
-- dropping a partition.  There is no default partition on purpose: it would have to
-- be searched and could not be split.
CREATE TABLE jobs (
    id                uuid        NOT NULL,
    organization_id   uuid        NOT NULL,
    queue_name        text        NOT NULL,
    -- The producer's bytes: json, unlike jsonb, keeps what it was given.
    payload           json        NOT NULL,
    job_type          text,
    tags              jsonb,
    max_retries       smallint    NOT NULL,
    timeout_seconds   integer     NOT NULL,
    retry             jsonb,
    idempotency_key   text,
    expires_at        timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    -- Where a push job goes; all null for a job that a worker claims.
    target_url        text,
    target_method     text,
    target_headers    jsonb,
    target_timeout_seconds real,

    PRIMARY KEY (id),
    CONSTRAINT jobs_retries_in_range CHECK (max_retries BETWEEN 0 AND 100),
    CONSTRAINT jobs_timeout_in_range CHECK (timeout_seconds BETWEEN 1 AND 86400),
    CONSTRAINT jobs_target_is_whole CHECK (
        (target_url IS NULL) = (target_method IS NULL)
        AND (target_url IS NULL) = (target_timeout_seconds IS NULL)
    )
) PARTITION BY RANGE (id);
CREATE INDEX jobs_of_organization_idx ON jobs (organization_id, id);

-- rank is 100 - priority: the lowest is claimed first.  attempt counts the attempts
-- begun, retry_count those of them that failed, crash_count the processes that died.

CREATE TABLE ready (
    lane_id     integer     NOT NULL,
    rank        smallint    NOT NULL,
    ready_at    timestamptz NOT NULL,
    job_id      uuid        NOT NULL,
    attempt     smallint    NOT NULL DEFAULT 0,
    retry_count smallint    NOT NULL DEFAULT 0,
    crash_count smallint    NOT NULL DEFAULT 0,

    -- The order of claims is the key: no plan can be wrong.
    PRIMARY KEY (lane_id, rank, ready_at, job_id),
    CONSTRAINT ready_rank_in_range CHECK (rank BETWEEN 0 AND 200)
);
CREATE UNIQUE INDEX ready_job_idx ON ready (job_id);

CREATE TABLE scheduled (
    run_at      timestamptz NOT NULL,
    job_id      uuid        NOT NULL,
    lane_id     integer     NOT NULL,
    rank        smallint    NOT NULL,
    attempt     smallint    NOT NULL DEFAULT 0,
    retry_count smallint    NOT NULL DEFAULT 0,
    crash_count smallint    NOT NULL DEFAULT 0,

    PRIMARY KEY (run_at, job_id)
);
CREATE UNIQUE INDEX scheduled_job_idx ON scheduled (job_id);

CREATE TABLE waiting (
    job_id       uuid     PRIMARY KEY,
    lane_id      integer  NOT NULL,
    rank         smallint NOT NULL,
    open_parents integer  NOT NULL,

    CONSTRAINT waiting_waits_for_somebody CHECK (open_parents > 0)
);

CREATE TABLE held (
    job_id      uuid     PRIMARY KEY,
    lane_id     integer  NOT NULL,
    rank        smallint NOT NULL,
    attempt     smallint NOT NULL DEFAULT 0,
    retry_count smallint NOT NULL DEFAULT 0,
    crash_count smallint NOT NULL DEFAULT 0,
    -- What it is held for, in words for the person who asks.
    reason      text     NOT NULL
);

-- One row a claim: who owns its jobs, and until when.  The id is never reused.
CREATE TABLE leases (
    id         uuid        PRIMARY KEY,
    owner      text        NOT NULL,
    push       boolean     NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    deadline   timestamptz NOT NULL,
    -- Whether a process ever said that it has the batch: who lets a lease run out that
    -- it never had did not die under it.
    taken_up   boolean     NOT NULL,
    job_ids    uuid[]      NOT NULL
);
CREATE INDEX leases_running_out_idx ON leases (deadline);

CREATE TABLE leased (
    job_id      uuid     PRIMARY KEY,
    lease_id    uuid     NOT NULL,
    lane_id     integer  NOT NULL,
    rank        smallint NOT NULL,
    attempt     smallint NOT NULL,
    retry_count smallint NOT NULL,
    crash_count smallint NOT NULL,

    CONSTRAINT leased_has_begun CHECK (attempt > 0)
);

CREATE TYPE ending AS ENUM ('completed', 'cancelled', 'expired');

CREATE TABLE finished (
    job_id      uuid        NOT NULL,
    lane_id     integer     NOT NULL,
    rank        smallint    NOT NULL,
    attempt     smallint    NOT NULL,
    retry_count smallint    NOT NULL,
    ending      ending      NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL DEFAULT now(),
    result      json,

    PRIMARY KEY (job_id)
) PARTITION BY RANGE (job_id);

CREATE TYPE death AS ENUM ('attempts_exhausted', 'gone', 'quarantined');

CREATE TABLE dead (
    job_id      uuid        PRIMARY KEY,
    lane_id     integer     NOT NULL,
    rank        smallint    NOT NULL,
    attempt     smallint    NOT NULL,
    retry_count smallint    NOT NULL,
    reason      death       NOT NULL,
    last_error  text        NOT NULL,
    started_at  timestamptz,
    died_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_in_lane_idx ON dead (lane_id, job_id);

-- Every attempt: when, how long, and what the receiver answered.
CREATE TYPE verdict AS ENUM ('delivered', 'refused', 'unanswered', 'lost');

CREATE TABLE attempts (
    job_id           uuid        NOT NULL,
    attempt          smallint    NOT NULL,
    verdict          verdict     NOT NULL,
    actor            text        NOT NULL,
    started_at       timestamptz NOT NULL,
    duration_ms      real        NOT NULL,
    status_code      smallint,
    error            text,
    response_headers jsonb,
    response_body    bytea,

    PRIMARY KEY (job_id, attempt)
) PARTITION BY RANGE (job_id);

-- One row a transition, written by the statement that makes it: the job's history and
-- the source of the event stream.  Transactions commit out of order, so the stream is
-- read by (xid, seq) up to the oldest transaction still open: nothing can come later
-- before that point, and a job's transitions stand in the order they happened.
CREATE TYPE transition AS ENUM (
    'created', 'due', 'unblocked', 'started', 'completed', 'retrying', 'deadlettered',
    'released', 'recovered', 'quarantined', 'cancelled', 'expired', 'requeued', 'purged'
);

CREATE SEQUENCE journal_seq;

CREATE TABLE journal (
    seq        bigint      NOT NULL DEFAULT nextval('journal_seq'),
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    job_id     uuid        NOT NULL,
    lane_id    integer     NOT NULL,
    transition transition  NOT NULL,
    rank       smallint    NOT NULL,
    attempt    smallint    NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text,
    details    json
) PARTITION BY RANGE (job_id);
CREATE INDEX journal_of_job_idx ON journal (job_id, seq);
CREATE INDEX journal_unannounced_idx ON journal (xid, seq);

-- How far the journal was announced.  One row.
CREATE TABLE announced (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    xid     xid8    NOT NULL DEFAULT '0',
    seq     bigint  NOT NULL DEFAULT 0
);
INSERT INTO announced DEFAULT VALUES;

-- A key names one job for as long as the job's row exists (contract 4.3).
CREATE TABLE idempotency (
    organization_id uuid  NOT NULL,
    key             text  NOT NULL,
    job_id          uuid  NOT NULL,
    -- SHA-256 of the request that made the job.
    fingerprint     bytea,

    PRIMARY KEY (organization_id, key)
);

-- Open jobs that must not run after a moment; a row goes when the moment came.
CREATE TABLE expiries (
    expires_at timestamptz NOT NULL,
    job_id     uuid        NOT NULL,

    PRIMARY KEY (expires_at, job_id)
);

-- Rows here live for milliseconds: vacuum by count, at once and without pauses.
ALTER TABLE ready     SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE scheduled SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE leases    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 70);
ALTER TABLE leased    SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The places as one, for reading: what the API says of a job.
CREATE VIEW places AS
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
           NULL, NULL, NULL, NULL, NULL, NULL
      FROM waiting
UNION ALL
    SELECT job_id, 'held', lane_id, rank, attempt, retry_count,
           NULL, NULL, NULL, NULL, NULL, NULL
      FROM held
UNION ALL
    SELECT job_id, 'leased', lane_id, rank, attempt, retry_count,
           lease_id, NULL, NULL, NULL, NULL, NULL
      FROM leased
UNION ALL
    SELECT job_id, 'finished', lane_id, rank, attempt, retry_count,
           NULL, NULL, started_at, finished_at, ending::text, NULL
      FROM finished
UNION ALL
    SELECT job_id, 'dead', lane_id, rank, attempt, retry_count,
           NULL, NULL, started_at, died_at, reason::text, last_error
      FROM dead;

-- What the API calls a place (contract 4.1): a retry waits as pending.
CREATE FUNCTION status_of(place text, ending text, retry_count smallint)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN place = 'finished' THEN ending
        WHEN place = 'leased' THEN 'processing'
        WHEN place = 'dead' THEN 'deadletter'
        WHEN place = 'scheduled' AND retry_count = 0 THEN 'scheduled'
        ELSE 'pending'
    END
$$;

-- The smallest UUIDv7 that can be born at a moment (RFC 9562, section 5.7).
CREATE FUNCTION first_id_at(moment timestamptz)
RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid
$$;

-- Create the weekly partitions of every table that grows with the jobs, from the week
-- of one moment to the week of another.  Safe to repeat and to run at the same time.
--
-- A partition is made beside its table and then attached: CREATE TABLE … PARTITION OF
-- would lock out everybody, and so wait for every reader (a dump runs for an hour) with
-- the whole house queueing behind it.  ATTACH waits for no reader and for no writer.
CREATE FUNCTION create_partitions(since timestamptz, until timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    week    timestamp;
    parent  text;
    name    text;
    created integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bellhop.create_partitions'));
    FOR week IN
        SELECT generate_series(date_trunc('week', since AT TIME ZONE 'UTC'),
                               date_trunc('week', until AT TIME ZONE 'UTC'), '1 week')
    LOOP
        FOREACH parent IN ARRAY ARRAY['jobs', 'finished', 'attempts', 'journal'] LOOP
            name := parent || to_char(week, '_IYYY"w"IW');
            IF to_regclass(name) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
                EXECUTE format(
                    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    parent, name,
                    first_id_at(week AT TIME ZONE 'UTC'),
                    first_id_at((week + interval '1 week') AT TIME ZONE 'UTC'));
                created := created + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN created;
END
$$;
