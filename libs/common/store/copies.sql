-- name: hold_still
-- One view of everything, that others can share for as long as this transaction is open,
-- and the transaction that comes after all that is in it.  Nobody ends a dump for being
-- slow.
SELECT pg_export_snapshot() AS snapshot,
       pg_snapshot_xmax(pg_current_snapshot())::text AS xid,
       set_config('idle_in_transaction_session_timeout', '0', true);

-- name: count_rows
-- The tables, and what counts their rows; partitions count for the table they are of.
SELECT oid::regclass::text AS name,
       format('SELECT count(*) FROM %s', oid::regclass) AS query
  FROM pg_class
 WHERE relnamespace = 'public'::regnamespace
   AND relkind IN ('r', 'p')
   AND NOT relispartition
 ORDER BY 1;

-- name: learn_sizes
-- What the planner knows of a database is in no dump.
ANALYZE;

-- name: pass_transactions
-- A transaction with a number of its own, and nothing in it.
SELECT pg_current_xact_id()::text;
