-- name: history
-- What happened to one job, in order.
-- $1 organization_id uuid, $2 job_id uuid, $3 limit int, $4 offset int, $5 newest
-- first boolean
SELECT journal.seq, journal.job_id, journal.transition::text AS transition,
       journal.attempt, journal.at, journal.actor, journal.details
  FROM journal
  JOIN jobs ON jobs.id = journal.job_id
 WHERE journal.job_id = $2
   AND jobs.organization_id = $1
 ORDER BY CASE WHEN $5 THEN -journal.seq ELSE journal.seq END
 LIMIT $3 OFFSET $4;

-- name: read_untold
-- The next transitions to tell of, in the order in which that may be done: everything
-- that is committed and before which nothing can be committed any more.
-- $1 after xid text, $2 after seq bigint, $3 limit int
SELECT journal.seq, journal.xid::text AS xid, journal.job_id, lanes.organization_id,
       lanes.queue_name, journal.transition::text AS transition, journal.rank,
       journal.attempt, journal.at, journal.actor, journal.details,
       journal.lane_id, lanes.push, lanes.telling, lanes.endpoint_id
  FROM journal
  JOIN lanes ON lanes.id = journal.lane_id
 WHERE (journal.xid, journal.seq) > ($1::text::xid8, $2)
   AND journal.xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY journal.xid, journal.seq
 LIMIT $3;

-- name: read_announced
-- How far the journal was announced.
SELECT xid::text AS xid, seq FROM announced;
