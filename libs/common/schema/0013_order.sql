-- The order of events is (xid, seq), and of one job's it must be the order in which they
-- happened.  The number of the transaction alone is not enough: a transaction of several
-- statements has its number from the first, and sees what was committed under a higher
-- one in the second (who locks a gate, and then claims what was created meanwhile).  So
-- a row stands no earlier than everything that its statement could see.
--
-- Nothing is read too early for that: the number is never smaller than the transaction's
-- own, and rows are read when all of smaller numbers have ended.
CREATE FUNCTION event_xid()
RETURNS xid8 LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN CASE
    WHEN pg_snapshot_xmax(pg_current_snapshot()) > pg_current_xact_id()
    -- The highest that has ended.
    THEN (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8
    ELSE pg_current_xact_id()
END;

ALTER TABLE journal ALTER COLUMN xid SET DEFAULT event_xid();
ALTER TABLE notices ALTER COLUMN xid SET DEFAULT event_xid();
