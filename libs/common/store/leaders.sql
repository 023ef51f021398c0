-- name: elect
-- Take or keep a duty for a while; returns the term when it is ours, else nothing.
-- $1 duty text, $2 holder text, $3 how long interval
INSERT INTO leaders AS leader (duty, holder, expires_at)
VALUES ($1, $2, now() + $3::interval)
    ON CONFLICT (duty) DO UPDATE
   SET term       = CASE WHEN leader.holder = $2 THEN leader.term
                         ELSE leader.term + 1 END,
       holder     = $2,
       expires_at = now() + $3::interval
 WHERE leader.holder = $2
    OR leader.expires_at < now()
RETURNING term;

-- name: resign
-- Give a duty back at once.
-- $1 duty text, $2 holder text
UPDATE leaders
   SET expires_at = now()
 WHERE duty = $1
   AND holder = $2;
