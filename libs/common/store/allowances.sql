-- name: take
-- Takes from rates as many pieces as there are, up to as many as are asked for: all
-- replicas take from the same row, one after the other (GCRA).  Each subject once, in
-- order.
-- $1 subjects text[], $2 seconds in which a piece grows back float8[], $3 pieces there
-- are at most int[], $4 pieces wanted int[]
INSERT INTO allowances AS kept (subject, spent_until, piece_seconds, burst, granted)
SELECT subject,
       now() + least(wanted, burst) * piece_seconds * interval '1 second',
       piece_seconds,
       burst,
       least(wanted, burst)
  FROM unnest($1::text[], $2::float8[], $3::int[], $4::int[])
       AS asked (subject, piece_seconds, burst, wanted)
 ORDER BY subject
    ON CONFLICT (subject) DO UPDATE
   SET (spent_until, piece_seconds, burst, granted) = (
        SELECT now() + (missing + pieces) * excluded.piece_seconds * interval '1 second',
               excluded.piece_seconds,
               excluded.burst,
               pieces
          FROM (SELECT missing,
                       -- A piece that is there but for a rounding is there.
                       greatest(0, least(
                           excluded.granted, floor(excluded.burst - missing + 0.001)
                       ))::int AS pieces
                  -- In pieces, because a new rate does not make what was used longer.
                  FROM (SELECT least(
                            excluded.burst,
                            greatest(0, extract(epoch FROM kept.spent_until - now()))
                            / kept.piece_seconds
                        ) AS missing) AS used) AS free)
RETURNING subject,
          granted,
          extract(epoch FROM spent_until - now())::float8 AS spent_seconds;

-- name: forget_allowances
-- Deletes allowances that are whole again: having none is the same.
-- $1 at most int
DELETE FROM allowances
 WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM allowances WHERE spent_until < now() - interval '1 minute' LIMIT $1));
