-- What is over goes when its time to be kept is over: by the week, and never by a large
-- DELETE.  What of a week stays is copied beside it in small steps, and then the copies
-- take the place of the week in one moment; see `services/scheduler/retention.py`.

-- How long organizations keep what is over, as their plans are now.  Who is not here
-- keeps everything.
CREATE TABLE retentions (
    organization_id uuid    PRIMARY KEY,
    -- Bodies and places of jobs, from their end on; attempts and transitions.
    job_days        integer NOT NULL,
    history_days    integer NOT NULL,

    CONSTRAINT retentions_history_is_of_jobs CHECK (history_days BETWEEN 0 AND job_days)
);

-- When a week was looked through last, and for which age of what is over.
CREATE TABLE sweeps (
    week     date        PRIMARY KEY,
    days     integer     NOT NULL,
    swept_at timestamptz NOT NULL DEFAULT now()
);

-- --- what is over ---------------------------------------------------------------------

-- The first id of a week, and with a week added the first that is too late.
CREATE FUNCTION first_id_of(week date)
RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN first_id_at(week::timestamp AT TIME ZONE 'UTC');

CREATE FUNCTION partition_of(parent text, week date)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN parent || to_char(week::timestamp, '_IYYY"w"IW');

-- Whether somebody still needs a job that ended: a child that waits, or its workflow, if
-- that is not over, not since this moment, or has dead letters.
CREATE FUNCTION is_needed(job uuid, workflow uuid, since timestamptz)
RETURNS boolean LANGUAGE sql STABLE AS $$
    -- One row is asked for by its key, and said to be (LIMIT): see 0015.
    SELECT EXISTS (
               SELECT
                 FROM (SELECT child_id FROM dependencies WHERE parent_id = job OFFSET 0)
                      AS edge
                WHERE (SELECT true FROM waiting
                        WHERE waiting.job_id = edge.child_id LIMIT 1))
        OR workflow IS NOT NULL
       AND (EXISTS (
               SELECT
                 FROM workflows
                WHERE workflows.id = workflow
                  AND (finished_at IS NULL OR finished_at >= since))
            OR EXISTS (
               SELECT
                 FROM (SELECT job_id FROM workflow_jobs WHERE workflow_id = workflow
                       OFFSET 0) AS mine
                WHERE (SELECT true FROM dead WHERE dead.job_id = mine.job_id LIMIT 1)))
$$;

-- Of jobs of one week, which may go at this moment, and whose attempts and transitions
-- may.  Who is not finished is never over, dead letters among them.
CREATE FUNCTION past_of(job_ids uuid[], week date, moment timestamptz)
RETURNS TABLE (job_id uuid, is_over boolean, history_is_over boolean)
LANGUAGE sql STABLE AS $$
    SELECT jobs.id,
           coalesce(ended.finished_at < until.job
                    AND NOT is_needed(jobs.id, jobs.workflow_id, until.job), false),
           coalesce(ended.finished_at < until.history
                    AND NOT is_needed(jobs.id, jobs.workflow_id, until.history), false)
      FROM jobs
      LEFT JOIN LATERAL (
            SELECT finished_at
              FROM finished
             WHERE finished.job_id = jobs.id
               AND finished.job_id >= first_id_of(week)
               AND finished.job_id < first_id_of(week + 7)
             LIMIT 1
           ) AS ended ON true
      LEFT JOIN retentions ON retentions.organization_id = jobs.organization_id
     CROSS JOIN LATERAL (
            SELECT moment - make_interval(days => job_days)     AS job,
                   moment - make_interval(days => history_days) AS history
           ) AS until
     WHERE jobs.id = ANY (job_ids)
       AND jobs.id >= first_id_of(week)
       AND jobs.id < first_id_of(week + 7)
$$;

-- --- a sweep --------------------------------------------------------------------------

-- Whoever sweeps is the one who has the duty, until this transaction ends: copies are
-- made, and change places, by one alone.
CREATE FUNCTION hold_sweep(sweeper text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM leaders WHERE duty = 'sweep' AND holder = sweeper FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% does not sweep any more', sweeper
              USING ERRCODE = 'serialization_failure';
    END IF;
END
$$;

-- Make an empty copy of a week of a table; one that somebody left is dropped.
CREATE FUNCTION make_copy(parent text, week date)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'kept_' || parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', 'kept_' || parent, parent);
    -- So that nobody has to read it when it is attached.
    EXECUTE format(
        'ALTER TABLE %I ADD CONSTRAINT in_week CHECK (%I >= %L AND %2$I < %4$L)',
        'kept_' || parent,
        CASE WHEN parent IN ('jobs', 'messages') THEN 'id' ELSE 'job_id' END,
        first_id_of(week), first_id_of(week + 7));
END
$$;

-- The copy takes the place of a week of a table, which must be locked, with the week;
-- where the copy is of no use the week is no more.
CREATE FUNCTION put_copy(parent text, week date, is_empty boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    copy CONSTANT text := 'kept_' || parent;
    name CONSTANT text := partition_of(parent, week);
BEGIN
    EXECUTE format('DROP TABLE %I', name);
    IF is_empty THEN
        EXECUTE format('DROP TABLE %I', copy);
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', copy, name);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, first_id_of(week), first_id_of(week + 7));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT in_week', name);
END
$$;

-- Whether organizations are erased, or were since somebody looked last: that deletes jobs
-- and messages without a word in the journal.
CREATE FUNCTION is_erasing()
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM organizations WHERE erased_at IS NOT NULL)
        OR EXISTS (SELECT
                     FROM retentions
                    WHERE (SELECT true FROM organizations
                            WHERE id = organization_id LIMIT 1) IS NULL)
$$;

-- --- a week of jobs -------------------------------------------------------------------

-- Make empty copies of a week's tables; those that somebody left are dropped.  Returned
-- is the mark before which nothing recent is in the journal: what is behind it has to be
-- looked at once more, purged jobs among it, of which only the journal knows.
CREATE FUNCTION begin_sweep(sweeper text, week date, recent timestamptz)
RETURNS xid8 LANGUAGE plpgsql AS $$
DECLARE
    mark xid8;
BEGIN
    PERFORM hold_sweep(sweeper);
    PERFORM make_copy(parent, week)
       FROM unnest('{jobs,finished,attempts,journal}'::text[]) AS parent;
    EXECUTE format('SELECT (xid::text::bigint + 1)::text::xid8 FROM %I WHERE at < $1'
                   ' ORDER BY xid DESC, seq DESC LIMIT 1', partition_of('journal', week))
       INTO mark
      USING recent;
    RETURN least(coalesce(mark, '0'), pg_snapshot_xmin(pg_current_snapshot()));
END
$$;

-- Copy what stays of these jobs, again if it was copied before; of the others the keys
-- go, shortly before they do.  What is recent in the journal stays for who was away.
-- Returned is who wrote the copies.
CREATE FUNCTION gather(
    sweeper text, job_ids uuid[], week date, moment timestamptz, recent timestamptz
) RETURNS xid8 LANGUAGE plpgsql AS $$
DECLARE
    since CONSTANT uuid := first_id_of(week);
    until CONSTANT uuid := first_id_of(week + 7);
    gone       uuid[];
    staying    uuid[];
    remembered uuid[];
BEGIN
    PERFORM hold_sweep(sweeper);
    SELECT array_agg(job_id) FILTER (WHERE is_over),
           array_agg(job_id) FILTER (WHERE NOT is_over),
           array_agg(job_id) FILTER (WHERE NOT history_is_over)
      INTO gone, staying, remembered
      FROM past_of(job_ids, week, moment);

    DELETE FROM kept_jobs     WHERE id     = ANY (job_ids);
    DELETE FROM kept_finished WHERE job_id = ANY (job_ids);
    DELETE FROM kept_attempts WHERE job_id = ANY (job_ids);
    DELETE FROM kept_journal  WHERE job_id = ANY (job_ids);

    INSERT INTO kept_jobs
    SELECT * FROM jobs
     WHERE id = ANY (staying) AND id >= since AND id < until;
    INSERT INTO kept_finished
    SELECT * FROM finished
     WHERE job_id = ANY (staying) AND job_id >= since AND job_id < until;
    INSERT INTO kept_attempts
    SELECT * FROM attempts
     WHERE job_id = ANY (remembered) AND job_id >= since AND job_id < until;
    INSERT INTO kept_journal
    SELECT * FROM journal
     WHERE job_id = ANY (remembered) AND job_id >= since AND job_id < until;
    INSERT INTO kept_journal
    SELECT * FROM journal
     WHERE job_id = ANY (ARRAY(SELECT unnest(job_ids) EXCEPT SELECT unnest(remembered)))
       AND job_id >= since AND job_id < until
       AND at >= recent;

    DELETE FROM idempotency
     USING jobs
     WHERE jobs.id = ANY (gone) AND jobs.id >= since AND jobs.id < until
       AND idempotency.organization_id = jobs.organization_id
       AND idempotency.key = jobs.idempotency_key
       AND idempotency.job_id = jobs.id;
    RETURN pg_current_xact_id();
END
$$;

-- The jobs of a week that moved behind a mark, and their whole workflows: whatever
-- changes a job writes to the journal.
CREATE FUNCTION moved_since(week date, mark xid8)
RETURNS TABLE (job_id uuid) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH moved AS MATERIALIZED (
            SELECT DISTINCT journal.job_id FROM %I AS journal WHERE journal.xid >= $1
        )
        SELECT moved.job_id FROM moved
         UNION
        SELECT sibling.job_id
          FROM moved
          JOIN workflow_jobs AS own ON own.job_id = moved.job_id
          JOIN workflow_jobs AS sibling ON sibling.workflow_id = own.workflow_id
         WHERE sibling.job_id >= $2
           AND sibling.job_id < $3
        $query$, partition_of('journal', week))
    USING mark, first_id_of(week), first_id_of(week + 7);
END
$$;

-- The copies take the place of a week, unless a job of it moved behind the mark
-- ('moved'), or jobs are being erased, which the journal does not tell ('erasing').
-- Where nothing stays the week is no more ('dropped').
--
-- Nothing is written here that a view older than this could miss, and all is over in
-- milliseconds.  Who would have to wait for somebody longer than a moment gives up: the
-- whole house would wait behind it.
CREATE FUNCTION swap_week(sweeper text, week date, mark xid8)
RETURNS text LANGUAGE plpgsql
SET lock_timeout = '200ms'
AS $$
DECLARE
    moved    boolean;
    is_empty boolean;
BEGIN
    PERFORM hold_sweep(sweeper);
    is_empty := NOT EXISTS (SELECT FROM kept_jobs)
            AND NOT EXISTS (SELECT FROM kept_finished)
            AND NOT EXISTS (SELECT FROM kept_attempts)
            AND NOT EXISTS (SELECT FROM kept_journal);

    PERFORM pg_advisory_xact_lock(hashtext('bellhop.create_partitions'));
    LOCK TABLE ONLY jobs, ONLY finished, ONLY attempts, ONLY journal
      IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE xid >= $1)',
                   partition_of('journal', week))
       INTO moved
      USING mark;
    IF moved THEN
        RETURN 'moved';
    ELSIF is_erasing() THEN
        RETURN 'erasing';
    END IF;
    PERFORM put_copy(parent, week, is_empty)
       FROM unnest('{jobs,finished,attempts,journal}'::text[]) AS parent;
    RETURN CASE WHEN is_empty THEN 'dropped' ELSE 'swapped' END;
END
$$;

-- Delete what of these jobs is over, where that is too little to be worth a swap.  Who
-- is just started over by its workflow is left.  Returned is how many jobs went.
CREATE FUNCTION forget_past(
    sweeper text, job_ids uuid[], week date, moment timestamptz, recent timestamptz
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    since CONSTANT uuid := first_id_of(week);
    until CONSTANT uuid := first_id_of(week + 7);
    locked    uuid[];
    gone      uuid[];
    forgotten uuid[];
BEGIN
    PERFORM hold_sweep(sweeper);
    locked := ARRAY(SELECT job_id
                      FROM finished
                     WHERE job_id = ANY (job_ids) AND job_id >= since AND job_id < until
                     ORDER BY job_id
                       FOR UPDATE SKIP LOCKED);
    SELECT coalesce(array_agg(job_id) FILTER (WHERE is_over), '{}'),
           array_agg(job_id) FILTER (WHERE history_is_over)
      INTO gone, forgotten
      FROM past_of(locked, week, moment);

    DELETE FROM idempotency
     USING jobs
     WHERE jobs.id = ANY (gone) AND jobs.id >= since AND jobs.id < until
       AND idempotency.organization_id = jobs.organization_id
       AND idempotency.key = jobs.idempotency_key
       AND idempotency.job_id = jobs.id;
    DELETE FROM jobs     WHERE id = ANY (gone) AND id >= since AND id < until;
    DELETE FROM finished WHERE job_id = ANY (gone) AND job_id >= since AND job_id < until;
    DELETE FROM attempts
     WHERE job_id = ANY (forgotten) AND job_id >= since AND job_id < until;
    DELETE FROM journal
     WHERE job_id = ANY (forgotten) AND job_id >= since AND job_id < until
       AND at < recent;
    RETURN cardinality(gone);
END
$$;

-- --- a week of messages ---------------------------------------------------------------

-- Those of these messages that may go: as old as jobs that are over may become, and
-- without a delivery that is still there.
CREATE FUNCTION past_messages_of(message_ids uuid[], week date, moment timestamptz)
RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
    SELECT messages.id
      FROM messages
     CROSS JOIN LATERAL (
            SELECT job_days
              FROM retentions
             WHERE retentions.organization_id = messages.organization_id
             LIMIT 1
           ) AS kept
     WHERE messages.id = ANY (message_ids)
       AND messages.id >= first_id_of(week)
       AND messages.id < first_id_of(week + 7)
       AND messages.created_at < moment - make_interval(days => job_days)
       AND (SELECT true FROM jobs WHERE jobs.message_id = messages.id LIMIT 1) IS NULL
$$;

-- Copy what stays of these messages; of the others the keys go, shortly before they do.
-- Returned is who wrote the copies.
CREATE FUNCTION gather_messages(
    sweeper text, message_ids uuid[], week date, moment timestamptz
) RETURNS xid8 LANGUAGE plpgsql AS $$
DECLARE
    since CONSTANT uuid := first_id_of(week);
    until CONSTANT uuid := first_id_of(week + 7);
    gone           uuid[];
BEGIN
    PERFORM hold_sweep(sweeper);
    gone := ARRAY(SELECT past_messages_of(message_ids, week, moment));
    DELETE FROM kept_messages WHERE id = ANY (message_ids);
    INSERT INTO kept_messages
    SELECT * FROM messages
     WHERE id = ANY (message_ids) AND id <> ALL (gone) AND id >= since AND id < until;
    PERFORM forget_message_keys(gone, week);
    RETURN pg_current_xact_id();
END
$$;

CREATE FUNCTION forget_message_keys(gone uuid[], week date)
RETURNS void LANGUAGE sql AS $$
    DELETE FROM message_keys
     USING messages
     WHERE messages.id = ANY (gone)
       AND messages.id >= first_id_of(week)
       AND messages.id < first_id_of(week + 7)
       AND message_keys.organization_id = messages.organization_id
       AND message_keys.key = messages.idempotency_key
       AND message_keys.message_id = messages.id
$$;

-- Messages of a week that somebody has sent again and that were not copied.  A sweep takes
-- less than a day: what was sent before is known to it.
CREATE FUNCTION missing_messages(week date)
RETURNS TABLE (message_id uuid) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT jobs.message_id
      FROM jobs
     WHERE jobs.message_id >= first_id_of(week)
       AND jobs.message_id < first_id_of(week + 7)
       AND jobs.id >= first_id_at(now() - interval '1 day')
       AND (SELECT true FROM kept_messages
             WHERE kept_messages.id = jobs.message_id LIMIT 1) IS NULL;
END
$$;

-- As `swap_week`.  Whoever sends a message again has it locked until that is committed,
-- and then it is missing here.
CREATE FUNCTION swap_messages(sweeper text, week date)
RETURNS text LANGUAGE plpgsql
SET lock_timeout = '200ms'
AS $$
DECLARE
    is_empty boolean;
BEGIN
    PERFORM hold_sweep(sweeper);
    is_empty := NOT EXISTS (SELECT FROM kept_messages);
    PERFORM pg_advisory_xact_lock(hashtext('bellhop.create_partitions'));
    LOCK TABLE ONLY messages IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM missing_messages(week)) THEN
        RETURN 'moved';
    ELSIF is_erasing() THEN
        RETURN 'erasing';
    END IF;
    PERFORM put_copy('messages', week, is_empty);
    RETURN CASE WHEN is_empty THEN 'dropped' ELSE 'swapped' END;
END
$$;

-- Delete what of these messages may go, where that is too little to be worth a swap.  What
-- somebody sends again is left.  Returned is how many went.
CREATE FUNCTION forget_messages(
    sweeper text, message_ids uuid[], week date, moment timestamptz
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    locked uuid[];
    gone   uuid[];
BEGIN
    PERFORM hold_sweep(sweeper);
    locked := ARRAY(SELECT id
                      FROM messages
                     WHERE id = ANY (message_ids)
                       AND id >= first_id_of(week)
                       AND id < first_id_of(week + 7)
                     ORDER BY id
                       FOR UPDATE SKIP LOCKED);
    gone := ARRAY(SELECT past_messages_of(locked, week, moment));
    PERFORM forget_message_keys(gone, week);
    DELETE FROM messages
     WHERE id = ANY (gone) AND id >= first_id_of(week) AND id < first_id_of(week + 7);
    RETURN cardinality(gone);
END
$$;

-- --- workflows ------------------------------------------------------------------------

CREATE INDEX workflows_over_idx ON workflows (finished_at, id) WHERE finished_at IS NOT NULL;

-- --- tallies --------------------------------------------------------------------------

-- Days, to be found when they are old; what there ever was stays.
CREATE INDEX tallies_days_idx ON tallies (bucket)
 WHERE (bucket AT TIME ZONE 'UTC')::time = '00:00' AND bucket > '-infinity';
