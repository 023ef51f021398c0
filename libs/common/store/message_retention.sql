-- name: choose_messages
-- The next messages of a week.
-- $1 week date, $2 after uuid, $3 limit int
SELECT id
  FROM messages
 WHERE id > $2
   AND id >= first_id_of($1::date)
   AND id < first_id_of($1::date + 7)
 ORDER BY id
 LIMIT $3;

-- name: count_past_messages
-- How many of these messages may go.
-- $1 message_ids uuid[], $2 week date, $3 moment timestamptz
SELECT count(*) FROM past_messages_of($1::uuid[], $2::date, $3::timestamptz);

-- name: begin_sweep
-- Make an empty copy of a week of messages; returned is who made it.
-- $1 sweeper text, $2 week date
WITH held AS MATERIALIZED (SELECT hold_sweep($1))
SELECT make_copy('messages', $2::date), pg_current_xact_id()::text AS xid FROM held;

-- name: gather_messages
-- Copy what stays of these messages; see the schema.
-- $1 sweeper text, $2 message_ids uuid[], $3 week date, $4 moment timestamptz
SELECT gather_messages($1, $2::uuid[], $3::date, $4::timestamptz)::text;

-- name: choose_missing
-- Messages of a week that somebody sends again and that were not copied.
-- $1 week date
SELECT message_id FROM missing_messages($1::date);

-- name: swap_messages
-- The copy takes the place of a week; see the schema.
-- $1 sweeper text, $2 week date
SELECT swap_messages($1, $2::date);

-- name: forget_messages
-- Delete what of these messages may go; see the schema.
-- $1 sweeper text, $2 message_ids uuid[], $3 week date, $4 moment timestamptz
SELECT forget_messages($1, $2::uuid[], $3::date, $4::timestamptz);
