-- name: misplaced
-- Jobs that are not in exactly one place, and places that hold no job.
SELECT coalesce(jobs.id, standing.job_id)                    AS job_id,
       coalesce(standing.places, '{}')                       AS places
  FROM jobs
  FULL JOIN (
        SELECT job_id, array_agg(place ORDER BY place) AS places
          FROM places
         GROUP BY job_id
       ) AS standing ON standing.job_id = jobs.id
 WHERE jobs.id IS NULL
    OR standing.job_id IS NULL
    OR cardinality(standing.places) <> 1
 ORDER BY 1;

-- name: unjournaled
-- Jobs whose last transition in the journal does not lead to the place they are in.
SELECT places.job_id, places.place, last.transition::text AS transition
  FROM places
  LEFT JOIN LATERAL (
        SELECT transition
          FROM journal
         WHERE journal.job_id = places.job_id
         ORDER BY xid DESC, seq DESC
         LIMIT 1
       ) AS last ON true
 WHERE places.place <> ALL (
        CASE last.transition
            WHEN 'created'      THEN '{ready,scheduled,waiting,held}'
            WHEN 'started'      THEN '{leased}'
            WHEN 'completed'    THEN '{finished}'
            WHEN 'cancelled'    THEN '{finished}'
            WHEN 'expired'      THEN '{finished}'
            WHEN 'retrying'     THEN '{scheduled}'
            WHEN 'deadlettered' THEN '{dead}'
            WHEN 'quarantined'  THEN '{dead}'
            WHEN 'due'          THEN '{ready}'
            WHEN 'blocked'      THEN '{waiting}'
            WHEN 'unblocked'    THEN '{ready,scheduled}'
            WHEN 'reprioritized' THEN '{ready,scheduled,waiting,held}'
            WHEN 'released'     THEN '{ready}'
            WHEN 'recovered'    THEN '{ready}'
            WHEN 'requeued'     THEN '{ready}'
            ELSE '{}'
        END::text[])
 ORDER BY 1;

-- name: forgotten
-- Jobs that wait though their parents' ends have decided, and that nobody will look at;
-- and jobs that wait for another number of parents than they think.
SELECT waiting.job_id, hopes.edges, hopes.met, hopes.hopeless
  FROM waiting
 CROSS JOIN LATERAL hopes_of(waiting.job_id) AS hopes
 WHERE waiting.edges <> hopes.edges
    OR ((hopes.met OR hopes.hopeless)
        AND NOT EXISTS (SELECT FROM rechecks WHERE child_id = waiting.job_id))
 ORDER BY 1;
