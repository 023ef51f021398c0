-- name: ready_lanes
-- The lanes that have ready jobs, in order: one probe of the index a lane, never a scan.
-- With each whether it gives nothing now, because its queue is paused or its endpoint
-- disabled or gone.
-- $1 after which lane int, $2 limit int
WITH RECURSIVE walk AS (
    (SELECT lane_id, 1 AS step
       FROM ready
      WHERE lane_id > $1
      ORDER BY lane_id
      LIMIT 1)
    UNION ALL
    SELECT following.lane_id, walk.step + 1
      FROM walk
     CROSS JOIN LATERAL (
            SELECT lane_id
              FROM ready
             WHERE ready.lane_id > walk.lane_id
             ORDER BY lane_id
             LIMIT 1
           ) AS following
     WHERE walk.step < $2
)
SELECT lanes.id, lanes.organization_id, lanes.queue_name, lanes.destination, lanes.push,
       lanes.endpoint_id, lanes.retries, coalesce(organization.weight, 1) AS weight,
       coalesce(queue.paused, false)
       OR lanes.endpoint_id IS NOT NULL AND endpoint.takes IS NOT true AS at_rest
  FROM walk
  JOIN lanes ON lanes.id = walk.lane_id
  LEFT JOIN LATERAL (
        SELECT weight FROM organizations WHERE organizations.id = lanes.organization_id
         LIMIT 1
       ) AS organization ON true
  LEFT JOIN LATERAL (
        SELECT paused
          FROM queues
         WHERE queues.organization_id = lanes.organization_id
           AND queues.name = lanes.queue_name
         LIMIT 1
       ) AS queue ON true
  LEFT JOIN LATERAL (
        SELECT enabled AND deleted_at IS NULL AS takes
          FROM endpoints
         WHERE endpoints.id = lanes.endpoint_id
         LIMIT 1
       ) AS endpoint ON true
 ORDER BY lanes.id;

-- name: find_floors
-- Since when the job of each lane is ready that has been so for longest, or since so long
-- ago if there is none as old.  Before that are only rows that were taken, and who commits
-- later than that: see `libs/common/floors.py`.
-- $1 lanes int[], $2 how long ago interval
WITH RECURSIVE heads AS (
    SELECT asked.lane_id, first.rank, first.ready_at
      FROM unnest($1::int[]) AS asked (lane_id)
     CROSS JOIN LATERAL (
            SELECT rank, ready_at
              FROM ready
             WHERE ready.lane_id = asked.lane_id
             ORDER BY rank, ready_at, job_id
             LIMIT 1
           ) AS first
    UNION ALL
    SELECT heads.lane_id, next.rank, next.ready_at
      FROM heads
     CROSS JOIN LATERAL (
            SELECT rank, ready_at
              FROM ready
             WHERE ready.lane_id = heads.lane_id
               AND ready.rank > heads.rank
             ORDER BY rank, ready_at, job_id
             LIMIT 1
           ) AS next
)
SELECT asked.lane_id, least(min(heads.ready_at), now() - $2::interval) AS floor
  FROM unnest($1::int[]) AS asked (lane_id)
  LEFT JOIN heads ON heads.lane_id = asked.lane_id
 GROUP BY asked.lane_id;

-- name: claim
-- ready → leased: take up to so many push jobs of each lane, most urgent and longest
-- ready first, under new leases of up to $5 jobs each.  A lane of a paused queue gives
-- nothing; one of a queue with a limit gives nothing unless it is admitted, and comes in
-- a row without a job.  A job whose time to run has passed comes with expired = true: it
-- must be settled so, not run.  A body over $8 bytes is left out (see read_body), and of
-- one that refers to what others gave there is a digest: it may be spelled otherwise by
-- the time that it is read.
-- Jobs that were ready before a lane's floor (see `find_floors`) are passed over.
-- $1 lanes int[], $2 how many of each int[], $3 admitted boolean[], $4 lease ids uuid[],
-- $5 jobs a lease int, $6 owner text, $7 lease interval, $8 bytes int, $9 floors
-- timestamptz[] (null: none)
WITH wanted AS MATERIALIZED (
    SELECT asked.lane_id, asked.quota, coalesce(asked.floor, '-infinity') AS floor,
           (coalesce(queue.limited, false) OR lane.endpoint_id IS NOT NULL)
           AND NOT asked.admitted AS refused
      FROM unnest($1::int[], $2::int[], $3::boolean[], $9::timestamptz[])
           AS asked (lane_id, quota, admitted, floor)
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name, endpoint_id
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
      LEFT JOIN LATERAL (
            SELECT paused, limited
              FROM queues
             WHERE queues.organization_id = lane.organization_id
               AND queues.name = lane.queue_name
             LIMIT 1
           ) AS queue ON true
      LEFT JOIN LATERAL (
            SELECT enabled AND deleted_at IS NULL AS takes
              FROM endpoints
             WHERE endpoints.id = lane.endpoint_id
             LIMIT 1
           ) AS endpoint ON true
     WHERE queue.paused IS NOT true
       AND (lane.endpoint_id IS NULL OR endpoint.takes)
), picked AS MATERIALIZED (
    SELECT first.address
      FROM wanted
     CROSS JOIN LATERAL (
            SELECT ctid AS address
              FROM ready
             WHERE ready.lane_id = wanted.lane_id
               AND ready.ready_at >= wanted.floor
               AND NOT wanted.refused
             ORDER BY rank, ready_at, job_id
             LIMIT wanted.quota
               FOR UPDATE SKIP LOCKED
           ) AS first
), taken AS (
    -- Where the locked rows stand: a join would be planned by what the table held when
    -- it was last analyzed, and that is nothing whenever the house had caught up.
    DELETE FROM ready
     WHERE ctid = ANY (ARRAY(SELECT address FROM picked))
    RETURNING ready.*
), assigned AS MATERIALIZED (
    SELECT *, ($4::uuid[])[1 + (row_number() OVER () - 1) / $5] AS lease_id
      FROM taken
), opened AS (
    -- A batch has yet to find its pod.  The statement's clock, because a transaction
    -- that admits may have waited for its turn.
    INSERT INTO leases (id, owner, claimed_at, deadline, taken_up, job_ids)
    SELECT lease_id, $6, statement_timestamp(), statement_timestamp() + $7::interval,
           false, array_agg(job_id ORDER BY job_id)
      FROM assigned
     GROUP BY lease_id
), into_leased AS (
    INSERT INTO leased (job_id, lease_id, lane_id, rank, attempt, retry_count, crash_count)
    SELECT job_id, lease_id, lane_id, rank, attempt + 1, retry_count, crash_count
      FROM assigned
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id, 'started', rank, attempt + 1, $6,
           json_build_object('waited_ms', (extract(
                epoch FROM statement_timestamp() - ready_at) * 1000)::real)
      FROM assigned
), given AS MATERIALIZED (
SELECT assigned.job_id, assigned.lease_id, assigned.lane_id,
       assigned.attempt + 1 AS attempt, body.*
  FROM assigned
 CROSS JOIN LATERAL (
        SELECT CASE WHEN octet_length(spelled.body) <= $8 THEN spelled.body END AS payload,
               octet_length(spelled.body) AS payload_bytes,
               CASE WHEN jobs.refers
                    THEN encode(sha256(convert_to(spelled.body, 'UTF8')), 'hex')
                    END AS payload_digest,
               jobs.organization_id, jobs.target_url, jobs.target_method,
               jobs.target_headers, jobs.target_timeout_seconds, jobs.endpoint_id,
               (SELECT version FROM endpoints WHERE endpoints.id = jobs.endpoint_id)
                   AS endpoint_version,
               jobs.webhook_id, jobs.workflow_id,
               coalesce(jobs.expires_at <= statement_timestamp(), false) AS expired
          FROM jobs
         CROSS JOIN LATERAL (
                SELECT CASE
                       WHEN jobs.refers
                       THEN resolved(jobs.payload, jobs.workflow_id)::text
                       WHEN jobs.enveloped
                       THEN (SELECT envelope(id, event_type, messages.payload::text)
                               FROM messages
                              WHERE messages.id = jobs.message_id)
                       ELSE coalesce(jobs.payload, (SELECT messages.payload FROM messages
                                                     WHERE messages.id = jobs.message_id)
                            )::text
                       END AS body
               ) AS spelled
         WHERE jobs.id = assigned.job_id
         LIMIT 1
       ) AS body
), pending AS MATERIALIZED (
    SELECT theirs.id
      FROM (SELECT DISTINCT workflow_id AS id
              FROM given
             WHERE workflow_id IS NOT NULL
               AND NOT expired) AS theirs
     CROSS JOIN LATERAL (
            SELECT state FROM workflows WHERE workflows.id = theirs.id LIMIT 1
           ) AS standing
     WHERE standing.state = 'pending'
), beginning AS MATERIALIZED (
    -- Whoever is locked is left to who looks next: we wait for nobody.  (No `=`: it
    -- would lead the planner through all that are open.)
    SELECT first.id
      FROM pending
     CROSS JOIN LATERAL (
            SELECT id
              FROM workflows
             WHERE workflows.id = pending.id
               AND state NOT IN ('running', 'completed', 'failed', 'cancelled')
             LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED
           ) AS first
), passed_by AS (
    INSERT INTO rechecks (child_id)
    SELECT id FROM pending WHERE id <> ALL (ARRAY(SELECT id FROM beginning))
), begun AS (
    UPDATE workflows
       SET state = 'running', started_at = statement_timestamp()
     WHERE id = ANY (ARRAY(SELECT id FROM beginning))
    RETURNING id, organization_id, name
), told AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'workflow.started',
           json_build_object('workflow_id', id, 'name', name, 'status', 'running')
      FROM begun
)
SELECT given.* FROM given
 UNION ALL
SELECT NULL, NULL, lane_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL
  FROM wanted
 WHERE refused;

-- name: claim_work
-- ready → leased: give workers' jobs to those who ask, each lane's most urgent and
-- longest ready first, to the first who asked first.  A job whose time to run has passed
-- is not given but ends: ready → finished.  Lanes of queues that are paused or have a
-- limit: see `claim`.
-- All payloads together have up to $8 bytes, or there is one job: what is beyond stays
-- where it is.  Payloads are counted as they are stored before any is unpacked, so that a
-- thousand large ones are not.
-- Returned are the jobs, by the lease they are under; those that ended so, with expired
-- = true; and in rows without a job the lanes that were refused, and, with expired = true,
-- those of which something was beyond.
-- Arrays, one element a request: $1 lanes int, $2 how many jobs int, $3 lease ids uuid,
-- $4 workers text, $5 leases interval, $6 admitted boolean, $7 floors timestamptz (see
-- `claim`; these two the same for a lane).  $8 bytes int
WITH asked AS MATERIALIZED (
    SELECT *, (sum(quota) OVER (PARTITION BY lane_id ORDER BY place))::int AS upto
      FROM unnest($1::int[], $2::int[], $3::uuid[], $4::text[], $5::interval[],
                  $6::boolean[], $7::timestamptz[]) WITH ORDINALITY
           AS asked (lane_id, quota, lease_id, owner, lease, admitted, floor, place)
), wanted AS MATERIALIZED (
    SELECT asked.lane_id, asked.quota, asked.place,
           coalesce(asked.floor, '-infinity') AS floor,
           coalesce(queue.limited, false) AND NOT asked.admitted AS refused
      FROM (SELECT lane_id, sum(quota)::int AS quota, bool_and(admitted) AS admitted,
                   min(floor) AS floor, min(place) AS place
              FROM asked
             GROUP BY lane_id) AS asked
     CROSS JOIN LATERAL (
            SELECT organization_id, queue_name
              FROM lanes
             WHERE lanes.id = asked.lane_id
             LIMIT 1
           ) AS lane
      LEFT JOIN LATERAL (
            SELECT paused, limited
              FROM queues
             WHERE queues.organization_id = lane.organization_id
               AND queues.name = lane.queue_name
             LIMIT 1
           ) AS queue ON true
     WHERE queue.paused IS NOT true
), picked AS MATERIALIZED (
    SELECT first.address, first.job, wanted.place
      FROM wanted
     CROSS JOIN LATERAL (
            SELECT ctid AS address, ready AS job
              FROM ready
             WHERE ready.lane_id = wanted.lane_id
               AND ready.ready_at >= wanted.floor
               AND NOT wanted.refused
             ORDER BY rank, ready_at, job_id
             LIMIT wanted.quota
               FOR UPDATE SKIP LOCKED
           ) AS first
), stored AS MATERIALIZED (
    SELECT picked.*, body.*,
           row_number() OVER in_turn AS turn,
           sum(pg_column_size(body.payload)) OVER in_turn AS bytes_stored
      FROM picked
     CROSS JOIN LATERAL (
            SELECT payload, refers, workflow_id
              FROM jobs
             WHERE jobs.id = (picked.job).job_id
             LIMIT 1
           ) AS body
    WINDOW in_turn AS (ORDER BY place, (job).rank, (job).ready_at, (job).job_id
                       ROWS UNBOUNDED PRECEDING)
), fitting AS MATERIALIZED (
    SELECT address, job
      FROM (SELECT address, job, turn,
                   sum(octet_length(
                       CASE WHEN refers THEN resolved(payload, workflow_id)
                            ELSE payload END::text
                   )) OVER (ORDER BY turn ROWS UNBOUNDED PRECEDING) AS bytes
              FROM stored
             WHERE bytes_stored <= $8 OR turn = 1) AS unpacked
     WHERE bytes <= $8 OR turn = 1
), beyond AS (
    SELECT (job).lane_id FROM picked EXCEPT ALL SELECT (job).lane_id FROM fitting
), taken AS (
    -- No join: see `claim`.
    DELETE FROM ready
     WHERE ctid = ANY (ARRAY(SELECT address FROM fitting))
), in_line AS MATERIALIZED (
    SELECT (job).lane_id,
           array_agg(job ORDER BY (job).rank, (job).ready_at, (job).job_id) AS jobs
      FROM fitting
     GROUP BY (job).lane_id
), given AS MATERIALIZED (
    SELECT asked.lease_id, asked.owner, asked.lease, job.*, body.*
      FROM asked
      JOIN in_line ON in_line.lane_id = asked.lane_id
     CROSS JOIN LATERAL unnest(
            in_line.jobs[asked.upto - asked.quota + 1 : asked.upto]
           ) AS job
     CROSS JOIN LATERAL (
            SELECT jobs.queue_name,
                   CASE WHEN jobs.refers THEN resolved(jobs.payload, jobs.workflow_id)
                        ELSE jobs.payload END AS payload,
                   jobs.max_retries, jobs.timeout_seconds,
                   jobs.tags, jobs.idempotency_key, jobs.created_at, jobs.scheduled_at,
                   jobs.workflow_id,
                   coalesce(jobs.expires_at <= statement_timestamp(), false) AS expired
              FROM jobs
             WHERE jobs.id = job.job_id
             LIMIT 1
           ) AS body
     ORDER BY asked.place, job.rank, job.ready_at, job.job_id
), into_leased AS (
    INSERT INTO leased (job_id, lease_id, lane_id, rank, attempt, retry_count,
                        crash_count, owner, claimed_at, deadline)
    SELECT job_id, lease_id, lane_id, rank, attempt + 1, retry_count, crash_count,
           owner, statement_timestamp(), statement_timestamp() + lease
      FROM given
     WHERE NOT expired
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT job_id, lane_id, rank, attempt, retry_count, 'expired'
      FROM given
     WHERE expired
    RETURNING job_id
), left_line AS (
    DELETE FROM lines WHERE job_id = ANY (ARRAY(SELECT job_id FROM given WHERE expired))
    RETURNING scope, key
), into_line_checks AS (
    INSERT INTO line_checks (scope, key) SELECT DISTINCT scope, key FROM left_line
), noted AS (
    INSERT INTO journal (job_id, lane_id, transition, rank, attempt, actor, details)
    SELECT job_id, lane_id,
           CASE WHEN expired THEN 'expired' ELSE 'started' END::transition, rank,
           CASE WHEN expired THEN attempt ELSE attempt + 1 END,
           CASE WHEN NOT expired THEN owner END,
           CASE WHEN expired THEN json_build_object(
                    'place', 'ready', 'retry_count', retry_count)
                ELSE json_build_object('waited_ms', (extract(
                    epoch FROM statement_timestamp() - ready_at) * 1000)::real) END
      FROM given
    RETURNING job_id
), released AS MATERIALIZED (
    SELECT release_children(ARRAY(SELECT job_id FROM into_finished), false)::text AS told
     WHERE EXISTS (SELECT
                     FROM dependencies
                    WHERE parent_id = ANY (ARRAY(SELECT job_id FROM into_finished)))
       AND (SELECT count(*) FROM noted) > 0
), pending AS MATERIALIZED (
    SELECT theirs.id
      FROM (SELECT DISTINCT workflow_id AS id
              FROM given
             WHERE workflow_id IS NOT NULL
               AND NOT expired) AS theirs
     CROSS JOIN LATERAL (
            SELECT state FROM workflows WHERE workflows.id = theirs.id LIMIT 1
           ) AS standing
     WHERE standing.state = 'pending'
), beginning AS MATERIALIZED (
    -- See `claim`.
    SELECT first.id
      FROM pending
     CROSS JOIN LATERAL (
            SELECT id
              FROM workflows
             WHERE workflows.id = pending.id
               AND state NOT IN ('running', 'completed', 'failed', 'cancelled')
             LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED
           ) AS first
), passed_by AS (
    INSERT INTO rechecks (child_id)
    SELECT id FROM pending WHERE id <> ALL (ARRAY(SELECT id FROM beginning))
), begun AS (
    UPDATE workflows
       SET state = 'running', started_at = statement_timestamp()
     WHERE id = ANY (ARRAY(SELECT id FROM beginning))
    RETURNING id, organization_id, name
), told AS (
    INSERT INTO notices (organization_id, event, data)
    SELECT organization_id, 'workflow.started',
           json_build_object('workflow_id', id, 'name', name, 'status', 'running')
      FROM begun
)
SELECT lane_id, job_id, lease_id, queue_name, payload::text AS payload, rank,
       attempt + 1 AS attempt, retry_count, max_retries, timeout_seconds,
       tags::text AS tags, idempotency_key, created_at, scheduled_at, workflow_id,
       statement_timestamp() AS claimed_at,
       statement_timestamp() + lease AS lease_expires_at, expired,
       (SELECT told FROM released) AS released
  FROM given
 UNION ALL
SELECT lane_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL
  FROM wanted
 WHERE refused
 UNION ALL
SELECT DISTINCT lane_id, NULL::uuid, NULL::uuid, NULL, NULL, NULL::smallint, NULL::smallint,
       NULL::smallint, NULL::smallint, NULL::int, NULL, NULL, NULL::timestamptz,
       NULL::timestamptz, NULL::uuid, NULL::timestamptz, NULL::timestamptz, true, NULL
  FROM beyond;
