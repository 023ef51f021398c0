-- name: lock_address
-- Keeps others from sending to an address, or trying its codes, until the end of the
-- transaction.
-- $1 email text
SELECT pg_advisory_xact_lock(hashtextextended('login code of ' || $1, 0));

-- name: recent_codes
-- How many codes an address was sent within a time, and when the first of them is
-- that old.
-- $1 email text, $2 within interval
SELECT count(*)::int AS codes,
       greatest(extract(epoch FROM min(created_at) + $2::interval - now()), 0)::float8
           AS room_in_seconds
  FROM login_codes
 WHERE email = $1
   AND created_at > now() - $2::interval;

-- name: create_code
-- $1 id uuid, $2 email text, $3 code_hmac bytea, $4 valid for interval
INSERT INTO login_codes (id, email, code_hmac, expires_at)
VALUES ($1, $2, $3, now() + $4::interval);

-- name: try_code
-- Counts a try against the newest code of an address.  No row when there is none that
-- is still good, or when the address was tried too often within a time.
-- $1 email text, $2 tries at most int, $3 within interval
UPDATE login_codes
   SET tries = tries + 1
 WHERE id = (SELECT id
               FROM login_codes
              WHERE email = $1
              ORDER BY created_at DESC
              LIMIT 1)
   AND used_at IS NULL
   AND expires_at > now()
   AND (SELECT sum(tries)
          FROM login_codes
         WHERE email = $1
           AND created_at > now() - $3::interval) < $2
RETURNING id, code_hmac;

-- name: use_code
-- A code is good once; the try that was right counts against nobody.
-- $1 id uuid
UPDATE login_codes
   SET used_at = now(),
       tries   = tries - 1
 WHERE id = $1;

-- name: find_account
-- Whose address it is, and the key that a session of theirs begins on: the oldest that
-- may do everything.
-- $1 email text, in lower case
SELECT organizations.id,
       (SELECT api_keys.id
          FROM api_keys
         WHERE api_keys.organization_id = organizations.id
           AND is_active
           AND (expires_at IS NULL OR expires_at > now())
           AND (queues = '{}' OR '*' = ANY (queues))
         ORDER BY api_keys.created_at, api_keys.id
         LIMIT 1) AS api_key_id
  FROM organizations
 WHERE lower(billing_email) = $1
   AND plan_tier <> 'deleted'
 ORDER BY created_at
 LIMIT 1;

-- name: forget_codes
-- Deletes codes that count for nothing any more.
-- $1 older than interval, $2 at most int
DELETE FROM login_codes
 WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM login_codes WHERE created_at < now() - $1::interval LIMIT $2));
