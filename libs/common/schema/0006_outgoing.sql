-- What is told to the outside beside the transitions of jobs.

-- What happened to queues, workers, endpoints, schedules and workflows: written by the
-- statement (or in the transaction) that makes it happen, read by the announcer in (xid,
-- seq) order as the journal is.
CREATE SEQUENCE notices_seq;
CREATE TABLE notices (
    seq             bigint      NOT NULL DEFAULT nextval('notices_seq'),
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    organization_id uuid        NOT NULL,
    -- 'queue.paused', 'worker.registered', 'endpoint.disabled', …
    event           text        NOT NULL,
    data            json        NOT NULL,
    at              timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (xid, seq)
);
CREATE INDEX notices_old_idx ON notices (at);

-- How far they were told.
ALTER TABLE announced
    ADD COLUMN notices_xid xid8   NOT NULL DEFAULT '0',
    ADD COLUMN notices_seq bigint NOT NULL DEFAULT 0;

-- Jobs whose end is told to a URL of their own, once (contract 5.7).
CREATE TABLE completion_webhooks (
    job_id uuid  PRIMARY KEY,
    url    text  NOT NULL,
    sealed bytea
);
