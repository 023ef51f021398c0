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
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (organization_id, provider),
    CONSTRAINT incoming_sources_provider_is_known
        CHECK (provider IN ('github', 'stripe', 'shopify', 'slack', 'standard'))
);

-- What came in, one row a delivery that was believed.
CREATE TABLE incoming_deliveries (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    provider        text        NOT NULL,
    event_type      text,
    matched_queue   text,
    job_id          uuid,
    message_id      uuid,
    status          text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT incoming_deliveries_status_is_known CHECK (status IN ('created', 'duplicate'))
);
CREATE INDEX incoming_deliveries_of_organization_idx
    ON incoming_deliveries (organization_id, id);
