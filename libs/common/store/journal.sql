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

-- name: find_traces
-- Of jobs that were created by a request that is traced, what that is: told with their
-- creation.
-- $1 job_ids uuid[]
SELECT asked.id AS job_id, created.traceparent
  FROM unnest($1::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
        SELECT details ->> 'traceparent' AS traceparent
          FROM journal
         WHERE journal.job_id = asked.id
           AND transition = 'created'
         ORDER BY journal.job_id, journal.seq
         LIMIT 1
       ) AS created
 WHERE created.traceparent IS NOT NULL;

-- name: read_announced
-- How far the journal was announced.
SELECT xid::text AS xid, seq FROM announced;
