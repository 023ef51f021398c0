"""Tables filled at once, for whoever wants to see how statements read them."""

#: Jobs in every place, some due and some not, with their keys, leases and journal.
FILL = """
WITH made AS (
    SELECT i, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - i), 12, '0')
               || '70008000' || lpad(to_hex(i), 12, '0'))::uuid AS id,
           lpad(to_hex(i / 320), 32, '0')::uuid AS lease_id,
           now() + (i - $1 / 2) * interval '1 second' AS moment
      FROM generate_series(1, $1) AS i
), bodies AS (
    INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,
                      timeout_seconds, target_url, target_method,
                      target_timeout_seconds)
    SELECT id, $2, 'mail', '{}', 3, 300, 'http://receiver.test', 'POST', 5 FROM made
), into_ready AS (
    INSERT INTO ready (lane_id, rank, ready_at, job_id)
    SELECT $3 + i % 7, 100, now(), id FROM made WHERE i % 5 = 0
), into_scheduled AS (
    INSERT INTO scheduled (run_at, job_id, lane_id, rank)
    SELECT moment, id, $3, 100 FROM made WHERE i % 5 = 1
), into_leased AS (
    INSERT INTO leased (job_id, lease_id, lane_id, rank, attempt, retry_count,
                        crash_count)
    SELECT id, lease_id, $3, 100, 1, 0, 0 FROM made WHERE i % 10 = 2
), to_workers AS (
    INSERT INTO leased (job_id, lease_id, lane_id, rank, attempt, retry_count,
                        crash_count, owner, claimed_at, deadline)
    SELECT id, id, $3 + i % 20, 100, 1, 0, 0, 'worker ' || i % 1000, now(), moment
      FROM made WHERE i % 10 = 7
), opened AS (
    INSERT INTO leases (id, owner, deadline, taken_up, job_ids)
    SELECT lease_id, 'dispatcher', min(moment), true, array_agg(id)
      FROM made WHERE i % 10 = 2 GROUP BY lease_id
), into_waiting AS (
    INSERT INTO waiting (job_id, lane_id, rank)
    SELECT id, $3, 100 FROM made WHERE i % 15 = 3
), edges AS (
    INSERT INTO dependencies (child_id, parent_id)
    SELECT child.id, parent.id FROM made AS child JOIN made AS parent
        ON parent.i = child.i - 1 WHERE child.i % 15 = 3
), into_rechecks AS (
    INSERT INTO rechecks (at, child_id) SELECT moment, id FROM made WHERE i % 15 = 3
), into_held AS (
    INSERT INTO held (job_id, lane_id, rank, reason, at_rest)
    SELECT id, $3 + i % 7, 100, 'full', i % 2 = 0 FROM made WHERE i % 15 = 4
), into_lines AS (
    INSERT INTO lines (job_id, scope, key, called)
    SELECT id, 'queue:' || $2::uuid::text || ':mail', 'key ' || i % 100, i % 15 <> 4
      FROM made WHERE i % 15 IN (4, 5)
), into_line_checks AS (
    INSERT INTO line_checks (scope, key)
    SELECT 'queue:' || $2::uuid::text || ':mail', 'key ' || i % 100
      FROM made WHERE i % 15 = 4
), into_finished AS (
    INSERT INTO finished (job_id, lane_id, rank, attempt, retry_count, ending)
    SELECT id, $3, 100, 1, 0, 'completed' FROM made
     WHERE i % 5 > 2 AND i % 15 NOT IN (3, 4)
), keyed AS (
    INSERT INTO idempotency (organization_id, key, job_id)
    SELECT $2, 'key ' || i, id FROM made
), expiring AS (
    INSERT INTO expiries (expires_at, job_id) SELECT moment, id FROM made
), owner AS (
    INSERT INTO organizations (id, name, slug) VALUES ($2, 'Acme', 'acme')
), receivers AS (
    INSERT INTO endpoints (id, organization_id, url)
    SELECT id, $2, 'http://receiver.test' FROM made WHERE i % 20 = 0
), health AS (
    INSERT INTO endpoint_health (endpoint_id) SELECT id FROM made WHERE i % 20 = 0
), minutes AS (
    INSERT INTO endpoint_minutes (endpoint_id, minute, succeeded)
    SELECT id, date_trunc('minute', now()) - minute * interval '1 minute', 1
      FROM made CROSS JOIN generate_series(1, 3) AS minute WHERE i % 20 = 0
), keys AS (
    INSERT INTO endpoint_secrets (id, endpoint_id, scheme, sealed)
    SELECT id, id, 'v1', 'sealed' FROM made WHERE i % 20 = 0
), lines AS (
    INSERT INTO lanes (organization_id, queue_name, destination)
    SELECT $2, 'webhooks', 'endpoint:' || id FROM made WHERE i % 20 = 0
)
INSERT INTO journal (job_id, lane_id, transition, rank, attempt)
SELECT id, $3, 'created', 100, 0 FROM made, generate_series(1, 2)
"""
