-- Notices are announced among the transitions of jobs: both count with one sequence, so
-- that (xid, seq) is one order of all events, and no two share a number.
ALTER TABLE notices ALTER COLUMN seq SET DEFAULT nextval('journal_seq');

-- What is not announced yet gets numbers of that sequence; the order of notices in a
-- transaction that was told of in part must stay.
UPDATE notices
   SET seq = nextval('journal_seq')
  FROM announced
 WHERE notices.xid > announced.xid
   AND notices.xid <> announced.notices_xid;

DROP SEQUENCE notices_seq;
