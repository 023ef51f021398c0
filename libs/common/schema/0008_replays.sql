-- What an endpoint is sent again: durable, so that it goes on where it was.
CREATE TABLE replays (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    endpoint_id     uuid        NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    -- What was sent in this time: since is inclusive, until exclusive.
    since           timestamptz NOT NULL,
    until           timestamptz NOT NULL,
    -- Whose delivery failed, who never had one, or everything.
    status          text        NOT NULL,
    filter          jsonb,
    rate_per_second double precision NOT NULL,
    state           text        NOT NULL DEFAULT 'running',
    -- Up to which message (or job) it came, and when it may go on.
    reached         uuid,
    next_at         timestamptz NOT NULL DEFAULT now(),
    examined        integer     NOT NULL DEFAULT 0,
    replayed        integer     NOT NULL DEFAULT 0,
    -- How many there were to examine when it began; null for more than anybody counts.
    total           integer,
    actor           text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,

    CONSTRAINT replays_status_is_known CHECK (status IN ('failed', 'missed', 'all')),
    CONSTRAINT replays_state_is_known CHECK (state IN ('running', 'completed', 'cancelled')),
    CONSTRAINT replays_finished_has_time CHECK ((state = 'running') = (finished_at IS NULL)),
    CONSTRAINT replays_in_order CHECK (since < until)
);
CREATE INDEX replays_running_idx ON replays (next_at, id) WHERE state = 'running';
CREATE INDEX replays_of_endpoint_idx ON replays (endpoint_id, id);
-- Two at once would send the same twice.
CREATE UNIQUE INDEX replays_running_once_idx ON replays (endpoint_id) WHERE state = 'running';
