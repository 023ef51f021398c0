-- name: read_plans
-- What the retentions of organizations follow from.
SELECT id AS organization_id, plan_tier, custom_limits::text AS custom_limits
  FROM organizations;

-- name: put_retentions
-- How long organizations keep what is over; who is not named is forgotten.
-- Arrays, one element an organization: $1 ids uuid, $2 days of jobs int, $3 days of their
-- history int
WITH given AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::int[], $3::int[])
           AS given (organization_id, job_days, history_days)
), gone AS (
    DELETE FROM retentions WHERE organization_id NOT IN (SELECT unnest($1::uuid[]))
)
INSERT INTO retentions
SELECT * FROM given
    ON CONFLICT (organization_id) DO UPDATE
   SET job_days = excluded.job_days, history_days = excluded.history_days
 WHERE (retentions.job_days, retentions.history_days)
       IS DISTINCT FROM (excluded.job_days, excluded.history_days);

-- name: read_clock
-- What time it is for everybody.
SELECT now();

-- name: list_weeks
-- The weeks that there are, by their Mondays: of jobs, of messages; with when and for
-- which age each was looked through last.
SELECT week, parents @> '{jobs}' AS has_jobs, parents @> '{messages}' AS has_messages,
       sweeps.days, sweeps.swept_at
  FROM (SELECT to_date(right(relname, 7), 'IYYY"w"IW') AS week,
               array_agg(inhparent::regclass::text) AS parents
          FROM pg_inherits
          JOIN pg_class ON pg_class.oid = inhrelid
         WHERE inhparent IN ('jobs'::regclass, 'messages'::regclass)
         GROUP BY week) AS there
  LEFT JOIN sweeps USING (week)
 ORDER BY week;

-- name: read_untold
-- When the first transition happened that is not announced, or not told of, yet; null
-- when all are.
SELECT at
  FROM (SELECT mark.xid, mark.seq
          FROM announced
         CROSS JOIN LATERAL (VALUES (xid, seq), (tell_xid, tell_seq)) AS mark (xid, seq)
         ORDER BY mark.xid, mark.seq
         LIMIT 1) AS mark
 CROSS JOIN LATERAL (
        SELECT journal.at
          FROM journal
         WHERE (journal.xid, journal.seq) > (mark.xid, mark.seq)
         ORDER BY journal.xid, journal.seq
         LIMIT 1
       ) AS news;

-- name: choose_ids
-- The next jobs of a week.
-- $1 week date, $2 after uuid, $3 limit int
SELECT id
  FROM jobs
 WHERE id > $2
   AND id >= first_id_of($1::date)
   AND id < first_id_of($1::date + 7)
 ORDER BY id
 LIMIT $3;

-- name: count_past
-- How many of these jobs are over, and how many have a history that is.
-- $1 job_ids uuid[], $2 week date, $3 moment timestamptz
SELECT count(*) FILTER (WHERE is_over)         AS jobs,
       count(*) FILTER (WHERE history_is_over) AS histories
  FROM past_of($1::uuid[], $2::date, $3::timestamptz);

-- name: note_forgotten
-- A week is about to lose what it has in the journal from before a moment.
-- $1 week date, $2 until timestamptz
SELECT note_forgotten($1::date, $2::timestamptz);

-- name: begin_sweep
-- Make empty copies of a week's tables; see the schema.  Returned are the first mark, and
-- who made them.
-- $1 sweeper text, $2 week date, $3 recent since timestamptz
SELECT begin_sweep($1, $2::date, $3::timestamptz)::text AS mark,
       pg_current_xact_id()::text AS xid;

-- name: gather
-- Copy what stays of these jobs; see the schema.
-- $1 sweeper text, $2 job_ids uuid[], $3 week date, $4 moment timestamptz, $5 recent since
-- timestamptz
SELECT gather($1, $2::uuid[], $3::date, $4::timestamptz, $5::timestamptz)::text;

-- name: choose_moved
-- The jobs of a week that moved behind a mark, and the next mark: every transaction that
-- was seen here ended before it.
-- $1 week date, $2 mark text
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS mark,
       ARRAY(SELECT job_id FROM moved_since($1::date, $2::text::xid8)) AS job_ids;

-- name: is_seen_by_all
-- Whether everybody who reads sees what this transaction wrote.
-- $1 xid text
SELECT NOT EXISTS (
    SELECT
      FROM pg_stat_activity
     WHERE datname = current_database()
       AND pid <> pg_backend_pid()
       AND backend_type = 'client backend'
       AND age(backend_xmin) >= age($1::text::xid8::xid));

-- name: swap_week
-- The copies take the place of a week; see the schema.
-- $1 sweeper text, $2 week date, $3 mark text
SELECT swap_week($1, $2::date, $3::text::xid8);

-- name: forget_past
-- Delete what of these jobs is over; see the schema.
-- $1 sweeper text, $2 job_ids uuid[], $3 week date, $4 moment timestamptz, $5 recent since
-- timestamptz
SELECT forget_past($1, $2::uuid[], $3::date, $4::timestamptz, $5::timestamptz);

-- name: forget_edges
-- Edges from jobs of a week that are no more to those they waited for, among the next
-- that there are.  Returned is the last child that was looked at.
-- $1 week date, $2 after uuid, $3 limit int
WITH looked AS MATERIALIZED (
    SELECT child_id
      FROM dependencies
     WHERE child_id > $2
       AND child_id >= first_id_of($1::date)
       AND child_id < first_id_of($1::date + 7)
     ORDER BY child_id
     LIMIT $3
), gone AS (
    DELETE FROM dependencies
     WHERE child_id = ANY (ARRAY(
            SELECT child_id
              FROM looked
             WHERE (SELECT true FROM jobs WHERE jobs.id = child_id LIMIT 1) IS NULL
               AND (SELECT true FROM workflows WHERE workflows.id = child_id LIMIT 1)
                   IS NULL))
)
SELECT child_id FROM looked ORDER BY child_id DESC LIMIT 1;

-- name: forget_completions
-- The same of whom the end of those jobs was to be told.
-- $1 week date, $2 after uuid, $3 limit int
WITH looked AS MATERIALIZED (
    SELECT job_id
      FROM completion_webhooks
     WHERE job_id > $2
       AND job_id >= first_id_of($1::date)
       AND job_id < first_id_of($1::date + 7)
     ORDER BY job_id
     LIMIT $3
), gone AS (
    DELETE FROM completion_webhooks
     WHERE job_id = ANY (ARRAY(
            SELECT job_id
              FROM looked
             WHERE (SELECT true FROM jobs WHERE jobs.id = job_id LIMIT 1) IS NULL))
)
SELECT job_id FROM looked ORDER BY job_id DESC LIMIT 1;

-- name: forget_workflows
-- What is known of workflows that are over, of whose jobs none is left, with the edges by
-- which they waited for them.  Returned are how many went, and the last one that was
-- looked at, if there may be more behind it.
-- $1 after finished_at timestamptz, $2 after id uuid, $3 moment timestamptz, $4 limit int
WITH looked AS MATERIALIZED (
    SELECT id, finished_at, organization_id
      FROM workflows
     WHERE (finished_at, id) > ($1::timestamptz, $2::uuid)
       AND finished_at < $3::timestamptz
           - make_interval(days => (SELECT min(job_days) FROM retentions))
     ORDER BY finished_at, id
     LIMIT $4
), over AS MATERIALIZED (
    SELECT looked.id
      FROM looked
     CROSS JOIN LATERAL (
            SELECT job_days
              FROM retentions
             WHERE retentions.organization_id = looked.organization_id
             LIMIT 1
           ) AS kept
     WHERE looked.finished_at < $3::timestamptz - make_interval(days => job_days)
       AND NOT EXISTS (
           SELECT
             FROM (SELECT job_id FROM workflow_jobs WHERE workflow_id = looked.id
                   OFFSET 0) AS mine
            WHERE (SELECT true FROM jobs WHERE jobs.id = mine.job_id LIMIT 1))
), edges AS (
    DELETE FROM dependencies WHERE child_id = ANY (ARRAY(SELECT id FROM over))
), gone AS (
    DELETE FROM workflows WHERE id = ANY (ARRAY(SELECT id FROM over)) RETURNING id
)
SELECT (SELECT count(*) FROM gone)::int AS gone, last.finished_at, last.id
  FROM (SELECT 1) AS one
  LEFT JOIN LATERAL (
        SELECT finished_at, id
          FROM looked
         ORDER BY finished_at DESC, id DESC
         LIMIT 1
       ) AS last ON (SELECT count(*) FROM looked) = $4;

-- name: note_sweep
-- A week was looked through for what is over at this age; one that is no more is
-- forgotten.
-- $1 week date, $2 days int
WITH there AS MATERIALIZED (
    SELECT coalesce(to_regclass(partition_of('jobs', $1::date)),
                    to_regclass(partition_of('messages', $1::date))) IS NOT NULL AS is_there
), gone AS (
    DELETE FROM sweeps WHERE week = $1 AND NOT (SELECT is_there FROM there)
)
INSERT INTO sweeps AS sweep (week, days)
SELECT $1, $2 FROM there WHERE is_there
    ON CONFLICT (week) DO UPDATE SET days = $2, swept_at = now();
