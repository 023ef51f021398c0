-- name: read_told
-- How far notices were told.
SELECT notices_xid::text AS xid, notices_seq AS seq FROM announced;

-- name: read_untold
-- The next notices to tell, in the order in which they may be (see
-- `journal.read_untold`).
-- $1 after xid text, $2 after seq bigint, $3 limit int
SELECT seq, xid::text AS xid, organization_id, event, data::text AS data, at
  FROM notices
 WHERE (notices.xid, notices.seq) > ($1::text::xid8, $2)
   AND notices.xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY notices.xid, notices.seq
 LIMIT $3;

-- name: note_told
-- Remember that notices were told up to a point.  Nothing is returned, and nothing
-- happens, when they were not told exactly as far as the caller thinks.
-- $1 up to xid text, $2 up to seq bigint, $3 so far xid text, $4 so far seq bigint
UPDATE announced
   SET notices_xid = $1::text::xid8, notices_seq = $2
 WHERE notices_xid = $3::text::xid8
   AND notices_seq = $4
RETURNING notices_seq;

-- name: forget_told
-- Notices that were told and announced, and are older than $1.
-- $1 age interval, $2 limit int
DELETE FROM notices
 WHERE (xid, seq) IN (
        SELECT old.xid, old.seq
          FROM notices AS old
         CROSS JOIN announced
         WHERE old.at < now() - $1::interval
           AND (old.xid, old.seq) <= (announced.notices_xid, announced.notices_seq)
           AND (old.xid, old.seq) <= (announced.xid, announced.seq)
         ORDER BY old.at
         LIMIT $2);
