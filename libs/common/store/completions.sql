-- name: attach
-- Whom to tell when these jobs end, in the transaction that creates them.
-- Arrays, one element a job: $1 job_ids uuid, $2 urls text, $3 origins text,
-- $4 sealed secrets bytea
INSERT INTO completion_webhooks (job_id, url, origin, sealed)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]);

-- name: read_secrets
-- What signs these deliveries of completion webhooks, and for which job it was sealed.
-- One whose job was purged since has nothing, and is never sent unsigned.
-- $1 job_ids uuid[]
SELECT delivery.id AS job_id, delivery.completion_of, webhook.sealed
  FROM unnest($1::uuid[]) AS asked (job_id)
 CROSS JOIN LATERAL (
        SELECT id, completion_of
          FROM jobs
         WHERE jobs.id = asked.job_id
           AND completion_of IS NOT NULL
         LIMIT 1
       ) AS delivery
 CROSS JOIN LATERAL (
        SELECT sealed
          FROM completion_webhooks
         WHERE completion_webhooks.job_id = delivery.completion_of
         LIMIT 1
       ) AS webhook;
