-- Jobs that come by themselves: schedules, what they did, and what is made up for.

-- *next_tick* is the moment of the timetable that comes next, *next_at* when it is due:
-- the jitter later.  Whoever fires moves both on, in the transaction that creates the
-- job, and only from where they were.
CREATE TABLE schedules (
    id               uuid        PRIMARY KEY,
    organization_id  uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name             text        NOT NULL,
    description      text,
    -- When.
    cron_expression  text        NOT NULL,
    timezone         text        NOT NULL,
    -- The first is inclusive, the second exclusive.
    start_at         timestamptz,
    end_at           timestamptz,
    jitter_seconds   integer     NOT NULL DEFAULT 0,
    -- What becomes of ticks that came while nobody looked, or while the run before is
    -- not over.
    misfire          text        NOT NULL DEFAULT 'coalesce',
    catch_up_max     integer,
    catch_up_seconds integer,
    overlap          text        NOT NULL DEFAULT 'allow',
    -- What: the job, with nulls for what its queue decides.
    queue_name       text        NOT NULL,
    payload          json        NOT NULL,
    job_type         text,
    rank             smallint    NOT NULL DEFAULT 100,
    max_retries      smallint,
    timeout_seconds  integer,
    retry            jsonb,
    tags             jsonb,
    metadata         jsonb,
    target_url       text,
    target_method    text,
    target_headers   jsonb,
    target_timeout_seconds real,
    endpoint_id      uuid,
    -- That of the job's lane: empty where workers claim it.
    destination      text        NOT NULL DEFAULT '',
    -- How it stands.
    paused           boolean     NOT NULL DEFAULT false,
    next_tick        timestamptz,
    next_at          timestamptz,
    -- A tick that waits until the run before it is over.
    queued_tick      timestamptz,
    last_job_id      uuid,
    last_run_at      timestamptz,
    run_count        bigint      NOT NULL DEFAULT 0,
    -- The edition of the zones that the next tick was found with.
    zones_edition    text        NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT schedules_queue_is_a_token
        CHECK (queue_name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
    CONSTRAINT schedules_bounds_in_order CHECK (start_at < end_at),
    CONSTRAINT schedules_jitter_in_range CHECK (jitter_seconds BETWEEN 0 AND 86400),
    CONSTRAINT schedules_misfire_is_known
        CHECK (misfire IN ('skip', 'coalesce', 'catch_up')),
    CONSTRAINT schedules_catch_up_is_bounded CHECK (
        (misfire = 'catch_up') = (catch_up_max IS NOT NULL)
        AND (misfire = 'catch_up') = (catch_up_seconds IS NOT NULL)
        AND catch_up_max > 0 AND catch_up_seconds > 0),
    CONSTRAINT schedules_overlap_is_known
        CHECK (overlap IN ('allow', 'skip', 'queue_one', 'cancel_previous')),
    CONSTRAINT schedules_rank_in_range CHECK (rank BETWEEN 0 AND 200),
    CONSTRAINT schedules_retries_in_range CHECK (max_retries BETWEEN 0 AND 100),
    CONSTRAINT schedules_timeout_in_range CHECK (timeout_seconds BETWEEN 1 AND 86400),
    CONSTRAINT schedules_target_is_whole CHECK (
        (target_url IS NULL) = (target_method IS NULL)
        AND (target_url IS NULL) = (target_timeout_seconds IS NULL)),
    CONSTRAINT schedules_go_to_one_target
        CHECK (target_url IS NULL OR endpoint_id IS NULL),
    CONSTRAINT schedules_destination_where_pushed CHECK (
        (destination = '') = (target_url IS NULL AND endpoint_id IS NULL)),
    CONSTRAINT schedules_next_is_whole CHECK ((next_tick IS NULL) = (next_at IS NULL)),
    CONSTRAINT schedules_are_never_early CHECK (next_at >= next_tick)
);
CREATE INDEX schedules_of_organization_idx ON schedules (organization_id, id);
CREATE INDEX schedules_due_idx ON schedules (next_at, id)
    WHERE NOT paused AND next_at IS NOT NULL;
CREATE INDEX schedules_queued_idx ON schedules (id) WHERE queued_tick IS NOT NULL;
CREATE INDEX schedules_by_edition_idx ON schedules (zones_edition, id)
    WHERE next_tick IS NOT NULL;

-- What a schedule did: one row for each tick that was looked at, whatever came of it, and
-- one for each time it was triggered by hand.
CREATE TABLE schedule_runs (
    id            uuid        PRIMARY KEY,
    schedule_id   uuid        NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    tick          timestamptz,
    source        text        NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    job_id        uuid,
    -- Ticks before this one that have no run of their own.
    missed        integer     NOT NULL DEFAULT 0,
    -- Why there is no job.
    error_message text,

    -- No tick is fired twice, whoever does it.
    CONSTRAINT schedule_runs_once UNIQUE (schedule_id, tick),
    CONSTRAINT schedule_runs_source_is_known
        CHECK (source IN ('cron', 'schedule_trigger', 'backfill')),
    CONSTRAINT schedule_runs_tick_unless_by_hand
        CHECK ((tick IS NULL) = (source = 'schedule_trigger')),
    CONSTRAINT schedule_runs_job_or_reason
        CHECK ((job_id IS NULL) = (error_message IS NOT NULL))
);
CREATE INDEX schedule_runs_of_schedule_idx ON schedule_runs (schedule_id, id);

-- Ticks of the past that somebody wants to have fired: durable, so that it goes on where
-- it was.
CREATE TABLE schedule_backfills (
    id            uuid        PRIMARY KEY,
    schedule_id   uuid        NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    -- The first is inclusive, the second exclusive.
    since         timestamptz NOT NULL,
    until         timestamptz NOT NULL,
    state         text        NOT NULL DEFAULT 'running',
    -- The latest tick that was looked at.
    reached       timestamptz,
    total         integer     NOT NULL,
    created       integer     NOT NULL DEFAULT 0,
    skipped       integer     NOT NULL DEFAULT 0,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,

    CONSTRAINT schedule_backfills_in_order CHECK (since < until),
    CONSTRAINT schedule_backfills_state_is_known
        CHECK (state IN ('running', 'completed', 'failed')),
    CONSTRAINT schedule_backfills_finished_has_time
        CHECK ((state = 'running') = (finished_at IS NULL)),
    CONSTRAINT schedule_backfills_failed_has_reason
        CHECK ((state = 'failed') = (error_message IS NOT NULL))
);
CREATE INDEX schedule_backfills_running_idx ON schedule_backfills (id)
    WHERE state = 'running';
CREATE INDEX schedule_backfills_of_schedule_idx ON schedule_backfills (schedule_id, id);

-- Whether a job is not over yet.
CREATE FUNCTION is_open(job uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM ready     WHERE ready.job_id = job)
        OR EXISTS (SELECT FROM scheduled WHERE scheduled.job_id = job)
        OR EXISTS (SELECT FROM leased    WHERE leased.job_id = job)
        OR EXISTS (SELECT FROM waiting   WHERE waiting.job_id = job)
        OR EXISTS (SELECT FROM held      WHERE held.job_id = job)
$$;
