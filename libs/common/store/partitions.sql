-- name: create_ahead
-- Create the weekly partitions that are missing around now; tell how many were.
-- $1 back interval, $2 ahead interval
SELECT create_partitions(now() - $1::interval, now() + $2::interval);
