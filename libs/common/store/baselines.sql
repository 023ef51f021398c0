-- name: read_baseline
-- How a queue stands in this snapshot, or all queues but one, and where that is in the
-- order of events: those before the horizon are all in it, and of those behind it just
-- the ones with these numbers.
-- $1 organization_id uuid, $2 queue_name text or null, $3 the queue left out text
WITH theirs AS MATERIALIZED (
    SELECT ARRAY(SELECT id
                   FROM lanes
                  WHERE organization_id = $1
                    AND CASE WHEN $2::text IS NULL THEN queue_name <> $3
                             ELSE queue_name = $2 END) AS lane_ids
), horizon AS MATERIALIZED (
    SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid
)
SELECT figures.*, horizon.xid::text AS horizon,
       ARRAY(SELECT news.seq
               FROM (SELECT seq, lane_id
                       FROM journal
                      WHERE (xid, journal.seq) >= (horizon.xid, 0)
                      ORDER BY xid, journal.seq
                      LIMIT 1000000000) AS news
              WHERE news.lane_id = ANY (theirs.lane_ids)) AS included
  FROM theirs
 CROSS JOIN horizon
 CROSS JOIN LATERAL figures_of(theirs.lane_ids) AS figures;
