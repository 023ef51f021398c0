-- name: read_horizon
-- Before this nothing can be committed any more.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text;

-- name: read_page
-- What happened in one organization behind a position, and before the horizon.  No more
-- than $5 events are looked at, whoever they belong to, and no more than $6 returned; the
-- position up to which that is all stands in every row, and there is a row without an
-- event when there was none.  No row: nothing happened.
-- $1 organization_id uuid, $2 after xid text, $3 after seq bigint, $4 horizon xid text,
-- $5 limit of events looked at int, $6 limit of events int, $7 bytes of tags int
WITH scanned AS MATERIALIZED (
    SELECT *
      FROM (
            (SELECT seq, xid, job_id, NULL::uuid AS organization_id,
                    transition::text AS event, rank, attempt, at, actor, details, lane_id
               FROM journal
              WHERE (xid, seq) > ($2::text::xid8, $3)
                AND xid < $4::text::xid8
              ORDER BY xid, seq
              LIMIT $5)
             UNION ALL
            (SELECT seq, xid, NULL, organization_id, event, NULL, NULL, at, NULL, data,
                    NULL
               FROM notices
              WHERE (xid, seq) > ($2::text::xid8, $3)
                AND xid < $4::text::xid8
              ORDER BY xid, seq
              LIMIT $5)
           ) AS event
     ORDER BY xid, seq
     LIMIT $5
), theirs AS MATERIALIZED (
    SELECT scanned.seq, scanned.xid, scanned.job_id,
           coalesce(lanes.organization_id, scanned.organization_id) AS organization_id,
           lanes.queue_name, event, rank, attempt, at, actor, details, lane_id,
           lanes.push, lanes.telling, lanes.endpoint_id
      FROM scanned
      LEFT JOIN lanes ON lanes.id = scanned.lane_id
     WHERE coalesce(lanes.organization_id, scanned.organization_id) = $1
     ORDER BY xid, seq
     LIMIT $6
), reached AS (
    -- The last one returned, when there may be more of them, else the last looked at.
    SELECT xid, seq
      FROM (
            SELECT xid, seq, (SELECT count(*) FROM theirs) = $6 AS cut
              FROM theirs
             UNION ALL
            SELECT xid, seq, (SELECT count(*) FROM theirs) < $6
              FROM scanned
           ) AS ends
     WHERE cut
     ORDER BY xid DESC, seq DESC
     LIMIT 1
)
SELECT theirs.seq, theirs.xid::text AS xid, theirs.job_id, theirs.organization_id,
       theirs.queue_name, theirs.event, theirs.rank, theirs.attempt, theirs.at,
       theirs.actor, theirs.details, theirs.lane_id, theirs.push, theirs.telling,
       theirs.endpoint_id, labels.job_type,
       CASE WHEN octet_length(labels.tags) <= $7 THEN labels.tags END AS tags,
       reached.xid::text AS reached_xid, reached.seq AS reached_seq
  FROM reached
  LEFT JOIN theirs ON true
  LEFT JOIN LATERAL (
        SELECT job_type, tags::text AS tags FROM jobs WHERE jobs.id = theirs.job_id
       ) AS labels ON true
 ORDER BY theirs.xid, theirs.seq;

-- name: read_onward
-- How far an organization may pass over what happened to others behind a position: up to
-- where something may have happened in it next, or to where it was announced.  No row:
-- nowhere, or not known.
-- $1 organization_id uuid, $2 after xid text, $3 after seq bigint
WITH next AS (
    SELECT number
      FROM stretches
     WHERE organization_id = $1
       AND number >= stretch_of($2::text::xid8)
     ORDER BY number
     LIMIT 1
), goal AS (
    SELECT CASE WHEN next.number IS NULL THEN announced.charted_xid
                ELSE first_of_stretch(next.number) END AS xid,
           CASE WHEN next.number IS NULL THEN announced.charted_seq
                ELSE 0 END AS seq
      FROM announced
      LEFT JOIN next ON true
     WHERE announced.charted_since < $2::text::xid8
)
SELECT xid::text AS xid, seq
  FROM goal
 WHERE (xid, seq) > ($2::text::xid8, $3);

-- name: forget_stretches
-- Old stretches → nowhere: those before the journal begins, or up to where it was
-- forgotten, up to a limit.  Returned is how many.
-- $1 limit int
WITH first AS MATERIALIZED (
    SELECT greatest((SELECT xid FROM journal ORDER BY xid, seq LIMIT 1),
                    forgotten_xid) AS xid
      FROM announced
), old AS MATERIALIZED (
    SELECT stretches.ctid AS address
      FROM first
      JOIN stretches ON stretches.number < stretch_of(first.xid)
     ORDER BY stretches.number
     LIMIT $1
       FOR UPDATE OF stretches SKIP LOCKED
), gone AS (
    DELETE FROM stretches
     WHERE ctid = ANY (ARRAY(SELECT address FROM old))
    RETURNING 1
)
SELECT count(*)::int FROM gone;

-- name: read_of_job
-- What happened to one job behind a position.
-- $1 organization_id uuid, $2 job_id uuid, $3 after xid text, $4 after seq bigint,
-- $5 horizon xid text, $6 limit int, $7 bytes of tags int
SELECT journal.seq, journal.xid::text AS xid, journal.job_id, lanes.organization_id,
       lanes.queue_name, journal.transition::text AS event, journal.rank,
       journal.attempt, journal.at, journal.actor, journal.details, journal.lane_id,
       lanes.push, lanes.telling, lanes.endpoint_id, jobs.job_type,
       CASE WHEN octet_length(jobs.tags::text) <= $7 THEN jobs.tags::text END AS tags
  FROM journal
  JOIN lanes ON lanes.id = journal.lane_id
  JOIN jobs  ON jobs.id = journal.job_id
 WHERE journal.job_id = $2
   AND jobs.organization_id = $1
   AND (journal.xid, journal.seq) > ($3::text::xid8, $4)
   AND journal.xid < $5::text::xid8
 ORDER BY journal.xid, journal.seq
 LIMIT $6;

-- name: read_standing
-- How a job stands, and the last thing that happened to it.
-- $1 organization_id uuid, $2 job_id uuid
SELECT jobs.queue_name,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       latest.xid::text AS xid, latest.seq, latest.at
  FROM jobs
  JOIN LATERAL (SELECT * FROM places WHERE places.job_id = jobs.id LIMIT 1)
       AS standing ON true
  JOIN LATERAL (
        SELECT xid, seq, at
          FROM journal
         WHERE journal.job_id = jobs.id
         ORDER BY seq DESC
         LIMIT 1
       ) AS latest ON true
 WHERE jobs.id = $2
   AND jobs.organization_id = $1;

-- name: is_forgotten
-- Whether something may be forgotten that happened behind this transaction.
-- $1 xid text
SELECT forgotten_xid > '0' AND forgotten_xid >= $1::text::xid8 FROM announced;

-- name: read_first
-- The first transition of this transaction number, or a higher one.
-- $1 xid text
SELECT xid::text AS xid, seq, at
  FROM journal
 WHERE journal.xid >= $1::text::xid8
 ORDER BY journal.xid, journal.seq
 LIMIT 1;
