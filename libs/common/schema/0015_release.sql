-- Jobs that wait for jobs are let go by the statement that ends what they waited for, and
-- a workflow is over with the statement that ends its last job.
--
-- That statement's own view is older than the commits of those who ended the other
-- parents at the same moment: of two last parents neither would see the other.  So the
-- work is done by functions that are VOLATILE: each of their statements has a view of its
-- own, in which what the calling statement wrote is to be seen.  They lock who waits, and
-- only the statement after that looks: who comes second sees what the first has done.
--
-- The order of locks, so that nobody waits in a circle: where jobs stand that end; those
-- who wait for them, by id; workflows, by id.  Only who ends jobs in work keeps to it and
-- is *patient*.  Who may hold others that wait (a cancellation) waits for nobody, and
-- neither does anybody for the children of who was cancelled with its parent: whoever
-- somebody else has in hands is noted in `rechecks`, for right after the commit.

-- Who looks has the workflow's lock before: nobody looks too early any more.
ALTER TABLE workflows DROP COLUMN round;

-- It failed before somebody retried: that is no reason to cancel what runs now.
ALTER TABLE workflow_jobs ADD COLUMN forgiven boolean NOT NULL DEFAULT false;

-- A workflow's jobs in the order of their ids, which nobody finds among all others'.
CREATE INDEX workflow_jobs_in_order_idx ON workflow_jobs (workflow_id, job_id);

-- The functions below ask for one row by its key, and say so (LIMIT): the planner would
-- read all the dead else, to have them at hand.

-- See 0011: nothing is changed but how it is asked.
CREATE OR REPLACE FUNCTION hopes_of(child uuid)
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
            SELECT (SELECT ending FROM finished
                     WHERE finished.job_id = dependencies.parent_id LIMIT 1) AS ending
            OFFSET 0
           ) AS ended
     CROSS JOIN LATERAL (
            SELECT CASE
                   WHEN ended.ending = 'completed' THEN 'done'
                   WHEN ended.ending = 'cancelled'
                        AND (SELECT skipped FROM workflow_jobs
                              WHERE workflow_jobs.job_id = dependencies.parent_id
                              LIMIT 1) THEN 'skipped'
                   WHEN ended.ending IS NOT NULL THEN 'lost'
                   WHEN (SELECT true FROM jobs
                          WHERE jobs.id = dependencies.parent_id LIMIT 1) IS NULL
                        THEN 'gone'
                   WHEN (SELECT true FROM dead
                          WHERE dead.job_id = dependencies.parent_id LIMIT 1) THEN 'lost'
                   ELSE 'open' END AS fate
            OFFSET 0
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

CREATE OR REPLACE FUNCTION has_open_jobs(workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM (SELECT job_id
                  FROM workflow_jobs
                 WHERE workflow_id = workflow
                 ORDER BY job_id DESC
                OFFSET 0) AS mine
         WHERE (SELECT true FROM finished
                 WHERE finished.job_id = mine.job_id LIMIT 1) IS NULL
           AND (SELECT true FROM dead WHERE dead.job_id = mine.job_id LIMIT 1) IS NULL
           AND (SELECT true FROM jobs WHERE jobs.id = mine.job_id LIMIT 1))
$$;

CREATE OR REPLACE FUNCTION progress_of(workflow uuid)
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
      FROM (SELECT job_id, workflow_jobs.skipped,
                   (SELECT ending FROM finished
                     WHERE finished.job_id = workflow_jobs.job_id LIMIT 1) AS ending
              FROM workflow_jobs
             WHERE workflow_id = workflow
            OFFSET 0) AS mine
     CROSS JOIN LATERAL (
            SELECT CASE
                   WHEN mine.ending = 'completed' THEN 'completed'
                   WHEN mine.ending = 'cancelled' AND mine.skipped THEN 'skipped'
                   WHEN mine.ending = 'cancelled' THEN 'cancelled'
                   WHEN mine.ending = 'expired' THEN 'failed'
                   WHEN (SELECT true FROM dead
                          WHERE dead.job_id = mine.job_id LIMIT 1) THEN 'failed'
                   WHEN (SELECT true FROM leased
                          WHERE leased.job_id = mine.job_id LIMIT 1) THEN 'processing'
                   WHEN (SELECT true FROM jobs
                          WHERE jobs.id = mine.job_id LIMIT 1) THEN 'pending'
                   ELSE 'failed' END AS fate
            OFFSET 0
           ) AS standing
$$;

CREATE OR REPLACE FUNCTION idle_jobs(workflow uuid, everything boolean)
RETURNS TABLE (job_id uuid) LANGUAGE sql STABLE AS $$
    SELECT mine.job_id
      FROM (SELECT workflow_jobs.job_id
              FROM workflow_jobs
             WHERE workflow_id = workflow
             ORDER BY workflow_jobs.job_id
            OFFSET 0) AS mine
     WHERE coalesce(
               (SELECT true FROM ready     WHERE ready.job_id = mine.job_id LIMIT 1),
               (SELECT true FROM scheduled WHERE scheduled.job_id = mine.job_id LIMIT 1),
               (SELECT true FROM waiting   WHERE waiting.job_id = mine.job_id LIMIT 1),
               (SELECT true FROM held      WHERE held.job_id = mine.job_id LIMIT 1))
       AND (everything
            OR (SELECT true FROM dependencies
                 WHERE child_id = mine.job_id AND kind <> 'success' LIMIT 1) IS NULL)
$$;

-- Whether one of a workflow's jobs has failed since somebody retried last.
CREATE OR REPLACE FUNCTION has_failed_jobs(workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM (SELECT job_id
                  FROM workflow_jobs
                 WHERE workflow_id = workflow
                   AND NOT forgiven
                OFFSET 0) AS mine
         WHERE coalesce(
                   (SELECT true FROM dead WHERE dead.job_id = mine.job_id LIMIT 1),
                   (SELECT ending = 'expired' FROM finished
                     WHERE finished.job_id = mine.job_id LIMIT 1)))
$$;

-- Whether somebody works on one of a workflow's jobs, or has.
CREATE FUNCTION has_begun_jobs(workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
          FROM (SELECT job_id FROM workflow_jobs WHERE workflow_id = workflow OFFSET 0)
               AS mine
         WHERE coalesce(
                   (SELECT true FROM leased WHERE leased.job_id = mine.job_id LIMIT 1),
                   (SELECT true FROM dead WHERE dead.job_id = mine.job_id LIMIT 1),
                   (SELECT ending = 'completed' FROM finished
                     WHERE finished.job_id = mine.job_id LIMIT 1)))
$$;

-- Whether nothing is decided of a child yet: it needs a parent that is not over, and
-- those that have *ended* now are as it wants them.  Null: who has ended is not known.
-- A thousand parents end without counting all the others each time: the latest are looked
-- at first, as they are over last.
CREATE FUNCTION still_waits(child uuid, ended uuid[])
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ended IS NOT NULL
       AND EXISTS (
           SELECT
             FROM (SELECT parent_id
                     FROM (SELECT parent_id
                             FROM dependencies
                            WHERE child_id = child
                              AND mode = 'all'
                           OFFSET 0) AS any_order
                    ORDER BY parent_id DESC
                   OFFSET 0) AS needed
            WHERE (SELECT true FROM finished
                    WHERE finished.job_id = needed.parent_id LIMIT 1) IS NULL
              AND (SELECT true FROM dead
                    WHERE dead.job_id = needed.parent_id LIMIT 1) IS NULL
              AND (SELECT true FROM jobs WHERE jobs.id = needed.parent_id LIMIT 1))
       AND NOT EXISTS (
           SELECT
             FROM (SELECT parent_id, kind
                     FROM dependencies
                    WHERE child_id = child
                      AND parent_id = ANY (ended)
                   OFFSET 0) AS edge
            WHERE kind = 'failure'
               OR kind = 'success'
              AND (SELECT true FROM finished
                    WHERE finished.job_id = edge.parent_id
                      AND ending = 'completed' LIMIT 1) IS NULL);
END
$$;

-- Lock those of these jobs that wait, in the order of their ids.
CREATE FUNCTION hold_waiting(children uuid[], patient boolean)
RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    IF patient THEN
        RETURN ARRAY(
            SELECT mine.job_id
              FROM (SELECT DISTINCT unnest(children) AS id ORDER BY id OFFSET 0) AS child
             CROSS JOIN LATERAL (
                    SELECT job_id FROM waiting WHERE waiting.job_id = child.id
                     LIMIT 1 FOR UPDATE
                   ) AS mine);
    END IF;
    RETURN ARRAY(
        SELECT mine.job_id
          FROM (SELECT DISTINCT unnest(children) AS id ORDER BY id OFFSET 0) AS child
         CROSS JOIN LATERAL (
                SELECT job_id FROM waiting WHERE waiting.job_id = child.id
                 LIMIT 1 FOR UPDATE SKIP LOCKED
               ) AS mine);
END
$$;

-- waiting → ready, scheduled, held (unblocked) or finished (cancelled): move on those of
-- these jobs of which something is decided now that those have *ended*.  Those that have
-- a line join it.  They must be locked.
-- Returned are how many are unblocked and how many of them joined a line, who is
-- cancelled, and the lanes that have more ready jobs.
CREATE FUNCTION move_waiting(children uuid[], ended uuid[])
RETURNS TABLE (unblocked integer, joined integer, gone uuid[], lanes integer[])
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH decided AS MATERIALIZED (
        SELECT child.id AS job_id, hopes.met, hopes.pointless
          FROM (SELECT id FROM unnest(children) AS asked (id)
                 WHERE NOT still_waits(id, ended) OFFSET 0) AS child
         CROSS JOIN LATERAL hopes_of(child.id) AS hopes
         WHERE hopes.met
            OR hopes.hopeless
    ), freed AS (
        DELETE FROM waiting
         WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE met))
        RETURNING job_id, lane_id, rank, run_at, coalesce(run_at > now(), false) AS later
    ), hopeless AS (
        DELETE FROM waiting
         WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE NOT met))
        RETURNING job_id, lane_id, rank
    ), skipped AS (
        UPDATE workflow_jobs
           SET skipped = true
         WHERE job_id = ANY (ARRAY(SELECT job_id FROM decided WHERE NOT met AND pointless))
    ), placed AS MATERIALIZED (
        -- It has attempts already if its workflow was retried.
        SELECT freed.*, body.line_scope, body.line_key,
               coalesce((SELECT max(attempts.attempt)
                           FROM attempts
                          WHERE attempts.job_id = freed.job_id), 0)::smallint AS attempt
          FROM freed
         CROSS JOIN LATERAL (
                SELECT line_scope, line_key FROM jobs WHERE jobs.id = freed.job_id LIMIT 1
               ) AS body
    ), into_ready AS (
        INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt)
        SELECT lane_id, rank, now(), job_id, attempt
          FROM placed
         WHERE NOT later
           AND line_key IS NULL
        RETURNING lane_id
    ), into_scheduled AS (
        INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt)
        SELECT run_at, job_id, lane_id, rank, attempt
          FROM placed
         WHERE later
           AND line_key IS NULL
    ), into_held AS (
        INSERT INTO held (job_id, lane_id, rank, reason, run_at, attempt)
        SELECT job_id, lane_id, rank, 'its turn has not come',
               CASE WHEN later THEN run_at END, attempt
          FROM placed
         WHERE line_key IS NOT NULL
    ), into_lines AS (
        INSERT INTO lines (job_id, scope, key)
        SELECT job_id, line_scope, line_key
          FROM placed
         WHERE line_key IS NOT NULL
         ORDER BY job_id
        RETURNING scope, key
    ), into_line_checks AS (
        INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM into_lines
    ), into_finished AS (
        INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
        SELECT job_id, lane_id, rank, 0, 0, 'cancelled' FROM hopeless
    ), noted AS (
        INSERT INTO journal (job_id, lane_id, transition, rank, attempt, details)
        SELECT job_id, lane_id, 'unblocked'::transition, rank, attempt,
               CASE WHEN later THEN json_build_object('run_at', run_at) END
          FROM placed
        UNION ALL
        SELECT job_id, lane_id, 'cancelled', rank, 0,
               json_build_object('place', 'waiting', 'retry_count', 0, 'reason',
                   CASE WHEN job_id = ANY (ARRAY(SELECT job_id
                                                   FROM decided
                                                  WHERE pointless))
                        THEN 'not_needed' ELSE 'parent_failed' END)
          FROM hopeless
    )
    SELECT (SELECT count(*) FROM freed)::integer,
           (SELECT count(*) FROM into_lines)::integer,
           ARRAY(SELECT job_id FROM hopeless),
           ARRAY(SELECT DISTINCT lane_id FROM into_ready);
END
$$;

-- Lock those of these that are workflows, in the order of their ids.
CREATE FUNCTION hold_workflows(ids uuid[], patient boolean)
RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    IF patient THEN
        RETURN ARRAY(
            SELECT mine.id
              FROM (SELECT DISTINCT unnest(ids) AS id ORDER BY id OFFSET 0) AS asked
             CROSS JOIN LATERAL (
                    SELECT id FROM workflows WHERE workflows.id = asked.id
                     LIMIT 1 FOR NO KEY UPDATE
                   ) AS mine);
    END IF;
    RETURN ARRAY(
        SELECT mine.id
          FROM (SELECT DISTINCT unnest(ids) AS id ORDER BY id OFFSET 0) AS asked
         CROSS JOIN LATERAL (
                SELECT id FROM workflows WHERE workflows.id = asked.id
                 LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
               ) AS mine);
END
$$;

-- pending, running → completed, failed, cancelled: end those of these workflows all of
-- whose jobs are over: failed if any of them failed, cancelled if any was cancelled,
-- unless because nobody needed it.  pending → running if the claim that began it found it
-- locked.  They must be locked.
-- Returned are how many are over, and those of which somebody must cancel what is left.
CREATE FUNCTION move_workflows(ids uuid[])
RETURNS TABLE (over integer, sweeping uuid[])
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH looked AS MATERIALIZED (
        SELECT workflow.*, has_open_jobs(workflow.id) AS is_open
          FROM unnest(ids) AS asked (id)
         CROSS JOIN LATERAL (
                SELECT id, state, policy
                  FROM workflows
                 WHERE workflows.id = asked.id
                 LIMIT 1
               ) AS workflow
    ), ended AS MATERIALIZED (
        SELECT looked.id, looked.state AS before, progress.*
          FROM looked
         CROSS JOIN LATERAL progress_of(looked.id) AS progress
         WHERE NOT looked.is_open
           AND looked.state IN ('pending', 'running')
    ), settled AS (
        -- No join: it would be planned by what the table held when it was last analyzed.
        UPDATE workflows
           SET (state, started_at, finished_at, completed_jobs, failed_jobs,
                cancelled_jobs, skipped_jobs) = (
               SELECT CASE WHEN ended.failed > 0 THEN 'failed'
                           WHEN ended.cancelled > 0 THEN 'cancelled'
                           ELSE 'completed' END,
                      coalesce(workflows.started_at,
                               CASE WHEN ended.completed + ended.failed > 0
                                    THEN now() END),
                      now(), ended.completed, ended.failed, ended.cancelled, ended.skipped
                 FROM ended
                WHERE ended.id = workflows.id)
         WHERE id = ANY (ARRAY(SELECT id FROM ended))
        RETURNING workflows.*
    ), begun AS (
        UPDATE workflows
           SET state = 'running', started_at = now()
         WHERE id = ANY (ARRAY(SELECT id
                                 FROM looked
                                WHERE state = 'pending'
                                  AND is_open
                                  AND has_begun_jobs(id)))
        RETURNING id, organization_id, name
    ), told AS (
        INSERT INTO notices (organization_id, event, data)
        SELECT organization_id, 'workflow.started',
               json_build_object('workflow_id', id, 'name', name, 'status', 'running')
          FROM (SELECT id, organization_id, name FROM begun
                UNION ALL
                SELECT id, organization_id, name
                  FROM settled
                  JOIN ended USING (id)
                 WHERE before = 'pending'
                   AND started_at IS NOT NULL) AS started
        UNION ALL
        SELECT organization_id, 'workflow.' || state,
               json_build_object('workflow_id', id, 'name', name, 'status', state,
                                 'total_jobs', total_jobs, 'completed_jobs', completed_jobs,
                                 'failed_jobs', failed_jobs)
          FROM settled
    )
    SELECT (SELECT count(*) FROM settled)::integer,
           ARRAY(SELECT id
                   FROM looked
                  WHERE is_open
                    AND (state = 'cancelled'
                         OR policy = 'fail_fast' AND has_failed_jobs(id))
                    AND EXISTS (SELECT FROM idle_jobs(id, state = 'cancelled'))
                  ORDER BY id);
END
$$;

-- Let go who need not wait any more of these jobs, cancel who waits in vain and whoever
-- waits for those, and end the workflows among them.  *ended*: see `still_waits`.
-- Returned are how many were unblocked and cancelled, how many joined a line, how many
-- workflows are over, the lanes that have more ready jobs, which workflows somebody must
-- sweep, and whom somebody must look at: others have them in hands, or there are many.
CREATE FUNCTION let_go(
    children uuid[], ended uuid[], patient boolean,
    OUT unblocked integer, OUT cancelled integer, OUT joined integer, OUT over integer,
    OUT lanes integer[], OUT sweeping uuid[], OUT left_over uuid[]
) LANGUAGE plpgsql AS $$
DECLARE
    turns_max    CONSTANT integer := 100;
    children_max CONSTANT integer := 10000;
    family       uuid[]           := children;
    everybody    uuid[]           := '{}';
    mine         uuid[];
    moved        record;
    flows        uuid[];
BEGIN
    unblocked := 0;
    cancelled := 0;
    joined := 0;
    lanes := '{}';
    left_over := '{}';
    FOR turn IN 1 .. turns_max LOOP
        left_over := left_over || family[children_max + 1 :];
        family := family[: children_max];
        everybody := everybody || family;
        mine := hold_waiting(family, patient AND turn = 1);
        IF NOT (patient AND turn = 1) THEN
            left_over := left_over || ARRAY(
                SELECT job_id FROM waiting WHERE job_id = ANY (family)
                EXCEPT SELECT unnest(mine));
        END IF;
        SELECT * INTO moved FROM move_waiting(mine, ended);
        unblocked := unblocked + moved.unblocked;
        joined := joined + moved.joined;
        cancelled := cancelled + cardinality(moved.gone);
        lanes := lanes || moved.lanes;
        EXIT WHEN moved.gone = '{}';
        ended := moved.gone;
        family := ARRAY(SELECT DISTINCT child_id
                          FROM dependencies
                         WHERE parent_id = ANY (ended));
        IF turn = turns_max THEN
            left_over := left_over || family;
        END IF;
    END LOOP;
    flows := hold_workflows(everybody, patient);
    IF NOT patient THEN
        left_over := left_over || ARRAY(
            SELECT id FROM workflows WHERE id = ANY (everybody)
            EXCEPT SELECT unnest(flows));
    END IF;
    SELECT done.over, done.sweeping INTO over, sweeping FROM move_workflows(flows) AS done;
END
$$;

-- What came of it as the callers of `release_children` and `look_again` hear of it.
CREATE FUNCTION told_of_release(
    unblocked integer, cancelled integer, joined integer, over integer, lane_ids integer[],
    sweeping uuid[], left_over integer
) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN json_build_object(
        'unblocked', unblocked, 'cancelled', cancelled, 'joined', joined, 'over', over,
        'push_lanes', ARRAY(SELECT DISTINCT id FROM lanes
                             WHERE id = ANY (lane_ids) AND push),
        'work_lanes', ARRAY(SELECT DISTINCT id FROM lanes
                             WHERE id = ANY (lane_ids) AND NOT push),
        'sweeping', sweeping, 'left_over', left_over);
END
$$;

-- These jobs have ended: let go who waited for them.  Called by the statement that ends
-- them, once it has written that they have.  Whoever is left is noted.
CREATE FUNCTION release_children(ended uuid[], patient boolean)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    done record;
BEGIN
    SELECT * INTO done
      FROM let_go(ARRAY(SELECT DISTINCT child_id
                          FROM dependencies
                         WHERE parent_id = ANY (ended)), ended, patient);
    done.left_over := done.left_over || done.sweeping;
    IF done.left_over <> '{}' THEN
        INSERT INTO rechecks (child_id) SELECT DISTINCT unnest(done.left_over);
    END IF;
    RETURN told_of_release(done.unblocked, done.cancelled, done.joined, done.over,
                           done.lanes, '{}', cardinality(done.left_over));
END
$$;

-- Look at jobs and workflows that were *noted*; at those with a *fresh* edge again, after
-- twice as long each time, until no statement can be left that did not see it: one lives
-- half a minute at most.  Who sweeps may die, so what is swept is looked at again, too.
CREATE FUNCTION look_again(noted uuid[], fresh uuid[])
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    done record;
BEGIN
    SELECT * INTO done FROM let_go(noted, NULL, true);
    INSERT INTO rechecks (child_id) SELECT DISTINCT unnest(done.left_over);
    INSERT INTO rechecks (at, child_id, repeatedly)
    SELECT now() + greatest(interval '2 seconds', now() - edge.youngest), asked.id, true
      FROM unnest(fresh) AS asked (id)
     CROSS JOIN LATERAL (
            SELECT FROM waiting WHERE waiting.job_id = asked.id LIMIT 1
           ) AS still
     CROSS JOIN LATERAL (
            SELECT max(created_at) AS youngest
              FROM dependencies
             WHERE child_id = asked.id
           ) AS edge
     WHERE edge.youngest > now() - interval '1 minute';
    INSERT INTO rechecks (at, child_id)
    SELECT now() + interval '2 seconds', unnest(done.sweeping);
    RETURN told_of_release(done.unblocked, done.cancelled, done.joined, done.over,
                           done.lanes, done.sweeping, cardinality(done.left_over));
END
$$;
