-- name: read_policies
-- What decides whether and when leased jobs are tried again.
-- Arrays, one element a job: $1 job_ids uuid, $2 lease_ids uuid (null: whichever lease
-- the owner has), $3 owners text (null: a batch's)
SELECT asked.job_id, held.retry_count, body.max_retries,
       coalesce(body.retry, endpoint.retry,
                nullif(queues.settings -> 'retry', 'null'))::text AS retry,
       jsonb_strip_nulls(jsonb_build_object(
           'retry_delay_ms', queues.settings -> 'retry_delay_ms',
           'backoff_multiplier', queues.settings -> 'backoff_multiplier',
           'max_retry_delay_ms', queues.settings -> 'max_retry_delay_ms'))::text AS knobs,
       body.endpoint_id IS NOT NULL AS to_endpoint
  FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS asked (job_id, lease_id, owner)
 CROSS JOIN LATERAL (
        SELECT retry_count
          FROM leased
         WHERE leased.job_id = asked.job_id
           AND coalesce(leased.lease_id = asked.lease_id, asked.owner IS NOT NULL)
           AND leased.owner IS NOT DISTINCT FROM asked.owner
         LIMIT 1
       ) AS held
 CROSS JOIN LATERAL (
        SELECT organization_id, queue_name, max_retries, retry, endpoint_id
          FROM jobs
         WHERE jobs.id = asked.job_id
         LIMIT 1
       ) AS body
  LEFT JOIN LATERAL (
        SELECT retry FROM endpoints WHERE endpoints.id = body.endpoint_id LIMIT 1
       ) AS endpoint ON true
  LEFT JOIN queues ON queues.organization_id = body.organization_id
                  AND queues.name = body.queue_name;

-- name: settle
-- leased → finished, scheduled, dead or (not tried) ready, with attempt and journal.
-- expired: its time to run had passed when it was claimed, so it was not tried either.
-- Fenced: a batch's job by its lease; a worker's by its owner, the deadline, the
-- organization, and by the lease too when it is named.  Whatever else is told is left
-- alone.  Returned are the jobs that were settled, by their place among those told, with
-- whether they left a line, whether their queue or endpoint limits how many are in work,
-- and what came of it for whoever waited for any of them (JSON; null: nobody did).
-- Arrays, one element a job, in the order of job ids: $1 job_ids uuid, $2 lease_ids
-- uuid, $3 owners text (null: a batch's), $4 organization_ids uuid, $5 queues text (JSON
-- array; null: every queue), $6 transitions text (completed, retrying, deadlettered,
-- released, expired), $7 delays double precision (s, of retrying), $8 deaths text,
-- $9 status codes smallint, $10 errors text, $11 durations real (ms, of a batch's job),
-- $12 ended ago real (ms), $13 response headers text (JSON), $14 response bodies bytea,
-- $15 results text (JSON); $16 actor text
WITH told AS MATERIALIZED (
    SELECT *
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[],
                  $6::transition[], $7::double precision[], $8::death[], $9::smallint[],
                  $10::text[], $11::real[], $12::real[], $13::text[], $14::bytea[],
                  $15::text[]) WITH ORDINALITY
           AS told (job_id, named_lease_id, named_owner, organization_id, queues,
                    transition, delay_seconds, death, status_code, error,
                    pushed_ms, ended_ms_ago, response_headers, response_body, result,
                    number)
), closed AS MATERIALIZED (
    -- Told twice, it happened once.
    SELECT DISTINCT ON (told.job_id)
           told.*, mine.*,
           coalesce(mine.claimed_at,
                    now() - (pushed_ms + ended_ms_ago) * interval '1 millisecond')
             AS started_at,
           coalesce(extract(epoch FROM now() - mine.claimed_at) * 1000, pushed_ms)::real
             AS duration_ms
      FROM told
     CROSS JOIN LATERAL (
            SELECT lease_id, lane_id, rank, attempt, retry_count, crash_count,
                   claimed_at, coalesce(owner, $16) AS actor
              FROM leased
             WHERE leased.job_id = told.job_id
               AND coalesce(leased.lease_id = told.named_lease_id,
                            told.named_owner IS NOT NULL)
               AND leased.owner IS NOT DISTINCT FROM told.named_owner
               AND (told.named_owner IS NULL
                    OR leased.deadline > now()
                       AND (SELECT lanes.organization_id = told.organization_id
                                   AND (told.queues IS NULL
                                        OR told.queues::jsonb ? lanes.queue_name)
                              FROM lanes
                             WHERE lanes.id = leased.lane_id))
             LIMIT 1
               FOR UPDATE
           ) AS mine
     ORDER BY told.job_id, told.number
), given_back AS (
    -- No join: see `claim`.  By id, because a row that was renewed while we waited for
    -- it stands elsewhere than our snapshot says.
    DELETE FROM leased WHERE job_id = ANY (ARRAY(SELECT job_id FROM closed))
), into_attempts AS (
    INSERT INTO attempts (job_id, attempt, verdict, actor, started_at, duration_ms,
                          status_code, error, response_headers, response_body,
                          endpoint_id)
    SELECT job_id, attempt,
           CASE WHEN transition = 'completed' THEN 'delivered'
                WHEN status_code IS NOT NULL OR claimed_at IS NOT NULL THEN 'refused'
                ELSE 'unanswered' END::verdict,
           actor, started_at, duration_ms, status_code, error,
           response_headers::jsonb, response_body,
           (SELECT endpoint_id FROM lanes WHERE lanes.id = closed.lane_id)
      FROM closed
     WHERE transition IN ('completed', 'retrying', 'deadlettered')
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending,
                          started_at, result)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'completed'::ending,
           started_at, result::json
      FROM closed
     WHERE transition = 'completed'
    UNION ALL
    SELECT job_id, lane_id, rank, attempt - 1, retry_count, 'expired'::ending, NULL, NULL
      FROM closed
     WHERE transition = 'expired'
    RETURNING job_id
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank, attempt, retry_count, crash_count)
    -- Into the lane for retries, if there is one.
    SELECT now() + delay_seconds * interval '1 second', job_id,
           coalesce((SELECT retry_lane_id FROM lanes WHERE lanes.id = closed.lane_id),
                    lane_id),
           rank, attempt, retry_count + 1, crash_count
      FROM closed
     WHERE transition = 'retrying'
), into_dead AS (
    INSERT INTO dead (job_id, lane_id, rank, attempt, retry_count, reason, last_error,
                      started_at)
    SELECT job_id, lane_id, rank, attempt, retry_count, death, error, started_at
      FROM closed
     WHERE transition = 'deadlettered'
    RETURNING job_id
), into_ready AS (
    -- It was not tried: the attempt did not happen.
    INSERT INTO ready (lane_id, rank, ready_at, job_id, attempt, retry_count, crash_count)
    SELECT lane_id, rank, now(), job_id, attempt - 1, retry_count, crash_count
      FROM closed
     WHERE transition = 'released'
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, transition, rank, attempt, actor,
           CASE transition
                WHEN 'completed' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code)
                WHEN 'retrying' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code,
                    'error', error, 'retry_count', retry_count + 1,
                    'run_at', now() + delay_seconds * interval '1 second')
                WHEN 'deadlettered' THEN json_build_object(
                    'duration_ms', duration_ms, 'status_code', status_code,
                    'error', error, 'retry_count', retry_count, 'reason', death)
                WHEN 'expired' THEN json_build_object('place', 'leased')
           END
      FROM closed
    RETURNING job_id
), ended AS MATERIALIZED (
    -- Asked of those who write it: it is written before anybody is let go.
    SELECT job_id FROM into_finished UNION ALL SELECT job_id FROM into_dead
), awaited AS MATERIALIZED (
    SELECT DISTINCT parent_id
      FROM dependencies
     WHERE parent_id = ANY (ARRAY(SELECT job_id FROM ended))
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT parent_id FROM awaited), true)::text AS told
     WHERE EXISTS (SELECT FROM awaited)
       AND (SELECT count(*) FROM noted) > 0
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM ended))
    RETURNING job_id, scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
), limited AS MATERIALIZED (
    SELECT closed.lane_id
      FROM (SELECT DISTINCT lane_id FROM closed) AS closed
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name, endpoint_id
              FROM lanes
             WHERE lanes.id = closed.lane_id
             LIMIT 1
           ) AS lane
      LEFT JOIN LATERAL (
            SELECT concurrency
              FROM queues
             WHERE queues.organization_id = lane.organization_id
               AND queues.name = lane.queue_name
             LIMIT 1
           ) AS queue ON true
     WHERE queue.concurrency IS NOT NULL
        OR lane.endpoint_id IS NOT NULL
)
SELECT number - 1 AS index, job_id, lease_id, lane_id, transition::text AS transition,
       job_id = ANY (ARRAY(SELECT job_id FROM left_line)) AS left_line,
       lane_id = ANY (ARRAY(SELECT lane_id FROM limited)) AS limited,
       (SELECT told FROM released) AS released
  FROM closed;

-- name: find_room
-- The lanes with ready jobs of those queues and endpoints among these lanes' that limit
-- how many jobs are in work: one of them may have ended.
-- $1 lanes int[]
WITH left_lanes AS MATERIALIZED (
    SELECT lane.*
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name, endpoint_id
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
), queues_left AS MATERIALIZED (
    SELECT lane.organization_id, lane.queue_name
      FROM (SELECT DISTINCT organization_id, queue_name FROM left_lanes) AS lane
     CROSS JOIN LATERAL (
            SELECT
              FROM queues
             WHERE queues.organization_id = lane.organization_id
               AND queues.name = lane.queue_name
               AND queues.concurrency IS NOT NULL
             LIMIT 1
           ) AS queue
), theirs AS MATERIALIZED (
    SELECT lane.id, lane.push
      FROM queues_left
     CROSS JOIN LATERAL (
            SELECT id, push
              FROM lanes
             WHERE lanes.organization_id = queues_left.organization_id
               AND lanes.queue_name = queues_left.queue_name
            OFFSET 0
           ) AS lane
     UNION
    SELECT lane.id, lane.push
      FROM (SELECT DISTINCT endpoint_id FROM left_lanes WHERE endpoint_id IS NOT NULL)
           AS endpoints_left
     CROSS JOIN LATERAL (
            SELECT id, push
              FROM lanes
             WHERE lanes.endpoint_id = endpoints_left.endpoint_id
            OFFSET 0
           ) AS lane
)
SELECT theirs.id, theirs.push
  FROM theirs
 CROSS JOIN LATERAL (
        SELECT 1 FROM ready WHERE ready.lane_id = theirs.id LIMIT 1
       ) AS waits;

-- name: read_standing
-- Where jobs stand and who has them, for who was told no.  One row a job that the
-- organization has in these queues, at the most.
-- Arrays, one element a question: $1 job_ids uuid, $2 organization_ids uuid, $3 queues
-- text (JSON array; null: every queue), $4 owners text (who asks)
SELECT asked.number - 1 AS index, standing.place,
       status_of(standing.place, standing.ending, standing.retry_count) AS status,
       standing.attempt, standing.lease_id, held.owner,
       coalesce(held.deadline > now(), false) AS live,
       begun.job_id IS NOT NULL AS had
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
       AS asked (job_id, organization_id, queues, owner, number)
 CROSS JOIN LATERAL (
        SELECT id
          FROM jobs
         WHERE jobs.id = asked.job_id
           AND jobs.organization_id = asked.organization_id
           AND (asked.queues IS NULL OR asked.queues::jsonb ? jobs.queue_name)
         LIMIT 1
       ) AS body
 CROSS JOIN LATERAL (
        SELECT * FROM places WHERE places.job_id = asked.job_id LIMIT 1
       ) AS standing
  LEFT JOIN LATERAL (
        SELECT owner, deadline FROM leased WHERE leased.job_id = asked.job_id LIMIT 1
       ) AS held ON true
  LEFT JOIN LATERAL (
        SELECT journal.job_id
          FROM journal
         WHERE journal.job_id = asked.job_id
           AND journal.transition = 'started'
           AND journal.actor = asked.owner
         LIMIT 1
       ) AS begun ON true;
