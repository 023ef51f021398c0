-- name: read_unannounced
-- The next events, transitions of jobs and notices, in the order in which they may be
-- announced: everything that is committed and before which nothing can be committed any
-- more.  Of a job it is told what it may be asked for by; tags of more than $4 bytes are
-- left out.
-- $1 after xid text, $2 after seq bigint, $3 limit int, $4 bytes int
SELECT unannounced.seq, unannounced.xid::text AS xid, unannounced.job_id,
       unannounced.organization_id, unannounced.queue_name, unannounced.event,
       unannounced.rank, unannounced.attempt, unannounced.at, unannounced.actor,
       unannounced.details, unannounced.lane_id, unannounced.push, unannounced.telling,
       unannounced.endpoint_id, labels.job_type,
       CASE WHEN octet_length(labels.tags) <= $4 THEN labels.tags END AS tags
  FROM (
        (SELECT journal.seq, journal.xid, journal.job_id, lanes.organization_id,
                lanes.queue_name, journal.transition::text AS event, journal.rank,
                journal.attempt, journal.at, journal.actor, journal.details,
                journal.lane_id, lanes.push, lanes.telling, lanes.endpoint_id
           FROM journal
           JOIN lanes ON lanes.id = journal.lane_id
          WHERE (journal.xid, journal.seq) > ($1::text::xid8, $2)
            AND journal.xid < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY journal.xid, journal.seq
          LIMIT $3)
         UNION ALL
        (SELECT seq, xid, NULL, organization_id, NULL, event, NULL, NULL, at, NULL, data,
                NULL, NULL, NULL, NULL
           FROM notices
          WHERE (xid, seq) > ($1::text::xid8, $2)
            AND xid < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY xid, seq
          LIMIT $3)
         ORDER BY xid, seq
         LIMIT $3
       ) AS unannounced
  LEFT JOIN LATERAL (
        SELECT job_type, tags::text AS tags
          FROM jobs
         WHERE jobs.id = unannounced.job_id
         LIMIT 1
       ) AS labels ON true
 ORDER BY unannounced.xid, unannounced.seq;
