-- name: read_server
-- What bends durability, and what time it is there.
SELECT current_setting('server_version')              AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_setting('fsync')                       AS fsync,
       current_setting('full_page_writes')            AS full_page_writes,
       current_setting('synchronous_commit')          AS synchronous_commit,
       pg_is_in_recovery()                            AS in_recovery,
       clock_timestamp()                              AS clock;

-- name: list_holders
-- Whoever keeps old rows from being cleaned up for long: transactions and prepared
-- transactions of so many seconds, the oldest first, and replication slots that are so
-- many transactions behind.
-- $1 limit int, $2 seconds double precision, $3 transactions int
(SELECT 'transaction' AS kind, pid::text AS name,
        concat_ws(', ', application_name, state, usename) AS what,
        extract(epoch FROM clock_timestamp() - xact_start)::double precision AS seconds
   FROM pg_stat_activity
  WHERE datname = current_database()
    AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
    AND xact_start <= clock_timestamp() - $2::double precision * interval '1 second')
 UNION ALL
(SELECT 'prepared transaction', gid, owner,
        extract(epoch FROM clock_timestamp() - prepared)::double precision
   FROM pg_prepared_xacts
  WHERE database = current_database()
    AND prepared <= clock_timestamp() - $2::double precision * interval '1 second')
 UNION ALL
(SELECT 'replication slot', slot_name::text,
        concat_ws(', ', slot_type, CASE WHEN active THEN 'active' ELSE 'idle' END), NULL
   FROM pg_replication_slots
  WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
    AND age(coalesce(xmin, catalog_xmin)) > $3::integer)
 ORDER BY seconds DESC NULLS FIRST
 LIMIT $1;

-- name: read_house
-- How the house does: what is overdue, and until when duties are somebody's.
SELECT (SELECT count(*) FROM leases WHERE deadline < now() - interval '30 seconds')
     + (SELECT count(*) FROM leased WHERE deadline < now() - interval '30 seconds')
                                                                       AS overdue_leases,
       (SELECT count(*)
          FROM (SELECT FROM scheduled
                 WHERE run_at < now() - interval '30 seconds' LIMIT 1000) AS late)
                                                                       AS overdue_jobs,
       (SELECT max(expires_at) FROM leaders)                           AS duties_until,
       (SELECT extract(epoch FROM now() - min(at))::double precision
          FROM (SELECT journal.at
                  FROM journal, announced
                 WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)
                 ORDER BY journal.xid, journal.seq
                 LIMIT 1) AS next)                                     AS untold_seconds,
       now()                                                           AS clock;

-- name: list_partitions_ahead
-- For each table that grows by the week, how many of the coming $1 weeks are missing.
-- $1 weeks int
SELECT parent.name,
       count(*) FILTER (WHERE to_regclass(parent.name || to_char(
           date_trunc('week', now() AT TIME ZONE 'UTC') + n * interval '1 week',
           '_IYYY"w"IW')) IS NULL) AS missing
  FROM unnest(ARRAY['jobs', 'finished', 'attempts', 'journal']) AS parent (name),
       generate_series(0, $1::integer) AS n
 GROUP BY parent.name
 ORDER BY parent.name;

-- name: count_endings
-- By queue, how many jobs completed and how many became dead letters in the last hour.
SELECT lanes.queue_name,
       coalesce(sum(tallies.jobs) FILTER (WHERE tallies.transition = 'completed'), 0)
           ::bigint AS completed,
       coalesce(sum(tallies.jobs) FILTER (WHERE tallies.transition <> 'completed'), 0)
           ::bigint AS died
  FROM tallies
  JOIN lanes ON lanes.id = tallies.lane_id
 WHERE tallies.bucket > now() - interval '1 hour'
   AND tallies.transition IN ('completed', 'deadlettered', 'quarantined')
 GROUP BY lanes.queue_name
 ORDER BY died DESC;
