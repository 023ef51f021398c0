-- Webhooks that come in from others.

-- Whose deliveries an organization takes, and how they are proven.
CREATE TABLE incoming_sources (
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    provider        text        NOT NULL,
    -- Sealed for the organization; two while one replaces the other.
    sealed          bytea       NOT NULL,
    previous_sealed bytea,
    previous_until  timestamptz,
    enabled         boolean     NOT NULL DEFAULT true,
    -- Into which queue; null is '<provider>-<event type>'.
    queue_name      text,
    -- As a message to endpoints instead of a job.
    as_message      boolean     NOT NULL DEFAULT false,
    -- When that was last changed: a repeat may be of the other kind since.
    switched_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (organization_id, provider),
    CONSTRAINT incoming_sources_provider_is_known
        CHECK (provider IN ('github', 'stripe', 'shopify', 'slack', 'standard')),
    CONSTRAINT incoming_sources_previous_has_an_end
        CHECK ((previous_sealed IS NULL) = (previous_until IS NULL))
);

-- What came in, one row a delivery that was believed: in the transaction that created
-- what became of it, or beside what an earlier one had created.  Appended to for every
-- job that comes in so: no foreign keys; of an erased organization they are erased first.
CREATE TABLE incoming_deliveries (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL,
    provider        text        NOT NULL,
    event_type      text        NOT NULL,
    -- What its sender calls it, and a repeat of it; null when it has no name.
    delivery_id     text,
    -- The queue of the job; null when it became a message.
    matched_queue   text,
    job_id          uuid,
    message_id      uuid,
    status          text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT incoming_deliveries_status_is_known CHECK (status IN ('created', 'duplicate')),
    CONSTRAINT incoming_deliveries_became_something
        CHECK ((job_id IS NULL) <> (message_id IS NULL)),
    CONSTRAINT incoming_deliveries_jobs_have_queues
        CHECK ((job_id IS NULL) = (matched_queue IS NULL))
);
CREATE INDEX incoming_deliveries_of_organization_idx
    ON incoming_deliveries (organization_id, created_at, id);
CREATE INDEX incoming_deliveries_of_queue_idx
    ON incoming_deliveries (organization_id, matched_queue, created_at, id);
