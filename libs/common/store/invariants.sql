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
-- Jobs whose last transition in the journal does not lead to the place they are in.  Of
-- one that is finished there may be no transition left: its history is not kept as long.
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
            WHEN 'held'         THEN '{held}'
            WHEN 'blocked'      THEN '{waiting}'
            WHEN 'unblocked'    THEN '{ready,scheduled,held}'
            WHEN 'reprioritized' THEN '{ready,scheduled,waiting,held}'
            WHEN 'released'     THEN '{ready}'
            WHEN 'recovered'    THEN '{ready}'
            WHEN 'requeued'     THEN '{ready,held,waiting}'
            ELSE '{}'
        END::text[])
   AND NOT (places.place = 'finished' AND last.transition IS NULL)
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

-- name: out_of_turn
-- What is wrong with lines: more are called than may be at once, or fewer though somebody
-- waits and nobody will look; who stands in one though it has ended or waits for other
-- jobs; who is not called and not held; who should stand in one and does not.  Lines
-- whose width was narrowed lately have too many called, and rightly; organizations that
-- are being erased call nobody.
WITH members AS MATERIALIZED (
    SELECT lines.*, places.place
      FROM lines
      LEFT JOIN places ON places.job_id = lines.job_id
), counted AS MATERIALIZED (
    SELECT scope, key, width_of(scope) AS width,
           count(*) FILTER (WHERE called)     AS called,
           count(*) FILTER (WHERE NOT called) AS waiting
      FROM members
     GROUP BY scope, key
)
SELECT scope, key, NULL::uuid AS job_id, 'too many are called' AS wrong
  FROM counted
 WHERE called > width
UNION ALL
SELECT scope, key, NULL, 'nobody looks'
  FROM counted
 WHERE called < width
   AND waiting > 0
   AND NOT EXISTS (SELECT
                     FROM line_checks
                    WHERE line_checks.scope = counted.scope
                      AND line_checks.key = counted.key)
   AND NOT EXISTS (SELECT
                     FROM members
                     JOIN jobs ON jobs.id = members.job_id
                     JOIN organizations ON organizations.id = jobs.organization_id
                    WHERE members.scope = counted.scope
                      AND members.key = counted.key
                      AND organizations.erased_at IS NOT NULL)
UNION ALL
SELECT scope, key, job_id, 'stands in line: ' || coalesce(place, 'nowhere')
  FROM members
 WHERE place IS NULL
    OR place IN ('waiting', 'finished', 'dead')
    OR NOT called AND place <> 'held'
UNION ALL
SELECT scope, key, job_id, 'rests before its turn'
  FROM lines
  JOIN held USING (job_id)
 WHERE NOT called
   AND at_rest
UNION ALL
SELECT line_scope, line_key, jobs.id, 'stands in no line: ' || places.place
  FROM jobs
  JOIN places ON places.job_id = jobs.id
 WHERE line_key IS NOT NULL
   AND places.place IN ('ready', 'scheduled', 'held', 'leased')
   AND NOT EXISTS (SELECT FROM lines WHERE lines.job_id = jobs.id)
 ORDER BY 1, 2, 3;
