-- Who uses Bellhop, and how: changed by people, read through caches.

CREATE TABLE organizations (
    id            uuid        PRIMARY KEY,
    name          text        NOT NULL,
    slug          text        NOT NULL UNIQUE,
    plan_tier     text        NOT NULL DEFAULT 'free',
    billing_email text        UNIQUE,
    settings      jsonb       NOT NULL DEFAULT '{}',
    custom_limits jsonb,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT organizations_slug_is_a_slug
        CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$')
);

-- A key is 32 random bytes: its SHA-256 finds it and gives nothing away.
CREATE TABLE api_keys (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    key_sha256      bytea       NOT NULL UNIQUE,
    name            text        NOT NULL,
    -- Empty, or holding '*': every queue.
    queues          text[]      NOT NULL DEFAULT '{}',
    rate_limit      integer,
    is_active       boolean     NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_used_at    timestamptz,
    expires_at      timestamptz,

    CONSTRAINT api_keys_hash_is_whole CHECK (octet_length(key_sha256) = 32)
);
CREATE INDEX api_keys_of_organization_idx ON api_keys (organization_id, created_at);

-- Sealed (AES-256-GCM): only the delivery service opens them.
CREATE TABLE signing_secrets (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    sealed          bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Set when a newer secret replaced this one: until then both sign.
    expires_at      timestamptz
);
CREATE UNIQUE INDEX signing_secrets_current_idx
    ON signing_secrets (organization_id) WHERE expires_at IS NULL;

-- A queue exists with its first job; a row here only when somebody configured it.
CREATE TABLE queues (
    id              uuid        PRIMARY KEY,
    organization_id uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            text        NOT NULL,
    max_retries     smallint    NOT NULL DEFAULT 3,
    default_timeout integer     NOT NULL DEFAULT 300,
    rate_limit      integer,
    enabled         boolean     NOT NULL DEFAULT true,
    settings        jsonb       NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT queues_name_is_a_token CHECK (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
    CONSTRAINT queues_retries_in_range CHECK (max_retries BETWEEN 0 AND 100),
    CONSTRAINT queues_timeout_in_range CHECK (default_timeout BETWEEN 1 AND 86400),
    UNIQUE (organization_id, name)
);

-- A lane is what waits in one line: one queue of one organization, and for push jobs
-- one destination, so that a receiver that hangs delays only its own.
CREATE TABLE lanes (
    id              integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid        NOT NULL,
    queue_name      text        NOT NULL,
    -- scheme://host:port of a push job's target; empty for jobs that workers claim.
    destination     text        NOT NULL DEFAULT '',
    push            boolean     GENERATED ALWAYS AS (destination <> '') STORED,

    CONSTRAINT lanes_queue_is_a_token
        CHECK (queue_name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$'),
    UNIQUE (organization_id, queue_name, destination)
);

-- Who does what only one should do at a time, for how long still.
CREATE TABLE leaders (
    duty       text        PRIMARY KEY,
    holder     text        NOT NULL,
    term       bigint      NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL
);
