-- Jobs that take turns: those that share a key run one after the other.

-- Who stands in line, first come first served: *position* is given by the database when a
-- job is created, so that what a producer hands in later comes later whatever the clocks
-- say.  A job whose turn has not come is `held`; *called* is whose turn it is.
CREATE TABLE lines (
    -- What the key belongs to: 'endpoint:<id>', or 'queue:<organization>:<name>'.
    scope    text    NOT NULL,
    key      text    NOT NULL,
    position bigint  GENERATED ALWAYS AS IDENTITY,
    job_id   uuid    NOT NULL,
    called   boolean NOT NULL DEFAULT false,

    PRIMARY KEY (scope, key, position)
);
CREATE UNIQUE INDEX lines_of_job_idx ON lines (job_id);

-- Lines to look at, because somebody joined or left: written by the statement that does
-- it, gone when somebody has looked.
CREATE TABLE line_checks (
    at    timestamptz NOT NULL DEFAULT now(),
    id    bigint      GENERATED ALWAYS AS IDENTITY,
    scope text        NOT NULL,
    key   text        NOT NULL,

    PRIMARY KEY (at, id)
);
