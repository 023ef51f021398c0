-- Receivers that are configured once, and messages that fan out to them.

-- --- endpoints ------------------------------------------------------------------------

-- An endpoint receives messages of an organization; one of kind 'outgoing' is told what
-- happens to its jobs instead (contract 1.10).
CREATE TABLE endpoints (
    id               uuid        PRIMARY KEY,
    organization_id  uuid        NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    kind             text        NOT NULL DEFAULT 'endpoint',
    name             text,
    url              text        NOT NULL,
    description      text,
    -- Names, prefixes such as 'invoice.*', or '*' alone for all.
    event_types      text[]      NOT NULL DEFAULT '{*}',
    filter           jsonb,
    headers          jsonb       NOT NULL DEFAULT '{}',
    -- What the body is: the payload as it came, an envelope around it, a CloudEvent in
    -- binary mode; of an outgoing webhook the contract's formats (5.7).
    format           text        NOT NULL DEFAULT 'payload',
    enabled          boolean     NOT NULL DEFAULT true,
    disabled_reason  text,
    disabled_at      timestamptz,
    timeout_seconds  real        NOT NULL DEFAULT 15,
    retry            jsonb,
    max_retries      smallint    NOT NULL DEFAULT 9,
    rate_limit_per_second double precision,
    max_concurrency  integer     NOT NULL DEFAULT 10,
    ordered          boolean     NOT NULL DEFAULT false,
    signature_scheme text        NOT NULL DEFAULT 'v1',
    -- How to show who we are, sealed JSON; and what of it is no secret.
    auth             bytea,
    auth_shown       jsonb,
    -- Client certificate and authorities of its own, sealed JSON; and what is no secret.
    tls              bytea,
    tls_shown        jsonb,
    metadata         jsonb       NOT NULL DEFAULT '{}',
    -- Counts its changes: who remembers an older one looks again.
    version          bigint      NOT NULL DEFAULT 1,
    -- Counts its URLs, and the times that it was enabled again: how an attempt went that
    -- was made under an older one says nothing of it.
    url_version      integer     NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- Gone for everybody; the row stays until its open deliveries have been cancelled.
    deleted_at       timestamptz,

    CONSTRAINT endpoints_kind_is_known CHECK (kind IN ('endpoint', 'outgoing')),
    CONSTRAINT endpoints_format_is_known CHECK (
        CASE kind WHEN 'endpoint' THEN format IN ('payload', 'envelope', 'cloudevents')
                  ELSE format IN ('json', 'slack', 'discord', 'teams') END),
    CONSTRAINT endpoints_disabled_has_reason
        CHECK (enabled = (disabled_reason IS NULL) AND enabled = (disabled_at IS NULL)),
    CONSTRAINT endpoints_timeout_in_range CHECK (timeout_seconds > 0 AND timeout_seconds <= 120),
    CONSTRAINT endpoints_retries_in_range CHECK (max_retries BETWEEN 0 AND 100),
    CONSTRAINT endpoints_rate_in_range CHECK (rate_limit_per_second > 0),
    CONSTRAINT endpoints_concurrency_in_range CHECK (max_concurrency BETWEEN 1 AND 10000),
    CONSTRAINT endpoints_scheme_is_known
        CHECK (signature_scheme IN ('v1', 'v1a', 'contract')),
    CONSTRAINT endpoints_auth_is_whole CHECK ((auth_shown IS NULL) = (auth IS NULL)),
    CONSTRAINT endpoints_tls_is_whole CHECK ((tls_shown IS NULL) = (tls IS NULL))
);
CREATE INDEX endpoints_of_organization_idx ON endpoints (organization_id, id);
-- Whose jobs somebody has to cancel.
CREATE INDEX endpoints_deleted_idx ON endpoints (deleted_at, id) WHERE deleted_at IS NOT NULL;

-- What signs for an endpoint, sealed for it.  Of those without an end there is one; the
-- others sign on until theirs.  An outgoing webhook may have none.
CREATE TABLE endpoint_secrets (
    id          uuid        PRIMARY KEY,
    endpoint_id uuid        NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    scheme      text        NOT NULL,
    sealed      bytea       NOT NULL,
    -- 'whpk_…' of an asymmetric one: no secret.
    public_key  text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,

    CONSTRAINT endpoint_secrets_scheme_is_known CHECK (scheme IN ('v1', 'v1a', 'contract')),
    CONSTRAINT endpoint_secrets_public_where_asymmetric
        CHECK ((scheme = 'v1a') = (public_key IS NOT NULL))
);
CREATE UNIQUE INDEX endpoint_secrets_current_idx
    ON endpoint_secrets (endpoint_id) WHERE expires_at IS NULL;
CREATE INDEX endpoint_secrets_of_endpoint_idx ON endpoint_secrets (endpoint_id);

-- How an endpoint does: what every settlement and every claim of it changes.  The breaker
-- is open until a moment, and then lets one attempt try (half open); the throttle lets
-- nothing through until its moment.
CREATE TABLE endpoint_health (
    endpoint_id          uuid        PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
    rate_spent_until     timestamptz NOT NULL DEFAULT '-infinity',
    open_until           timestamptz,
    open_seconds         integer     NOT NULL DEFAULT 0,
    -- When it last closed: what went badly before counts no more.
    closed_at            timestamptz NOT NULL DEFAULT '-infinity',
    throttled_until      timestamptz NOT NULL DEFAULT '-infinity',
    throttles            smallint    NOT NULL DEFAULT 0,
    consecutive_failures integer     NOT NULL DEFAULT 0,
    failing_since        timestamptz,
    last_success_at      timestamptz,
    last_failure_at      timestamptz,
    last_error           text
) WITH (fillfactor = 50);

-- How many attempts went well and badly, by the minute.
CREATE TABLE endpoint_minutes (
    endpoint_id uuid             NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    minute      timestamptz      NOT NULL,
    succeeded   integer          NOT NULL DEFAULT 0,
    failed      integer          NOT NULL DEFAULT 0,
    duration_ms double precision NOT NULL DEFAULT 0,

    PRIMARY KEY (endpoint_id, minute)
) WITH (fillfactor = 50);
CREATE INDEX endpoint_minutes_old_idx ON endpoint_minutes (minute);

-- An organization's endpoints as a whole, counted on with every change of any of them:
-- a message is fanned out only by somebody who knows them as they are.
ALTER TABLE organizations
    ADD COLUMN endpoints_version bigint   NOT NULL DEFAULT 1,
    -- Its part of what is carried at once, against that of others.
    ADD COLUMN weight            smallint NOT NULL DEFAULT 1
        CONSTRAINT organizations_weight_in_range CHECK (weight BETWEEN 1 AND 1000);

-- --- messages -------------------------------------------------------------------------

-- What was sent, once, however many endpoints it goes to.  The producer's bytes.
CREATE TABLE messages (
    id              uuid        NOT NULL,
    organization_id uuid        NOT NULL,
    event_type      text        NOT NULL,
    payload         json        NOT NULL,
    ordering_key    text,
    idempotency_key text,
    -- How often it was delivered to us before, as a webhook that became a message.
    hops            smallint    NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (id),
    CONSTRAINT messages_event_type_is_a_name
        CHECK (event_type ~ '^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$' AND length(event_type) <= 256)
) PARTITION BY RANGE (id);
CREATE INDEX messages_of_organization_idx ON messages (organization_id, id);
CREATE INDEX messages_of_type_idx         ON messages (organization_id, event_type, id);

CREATE TABLE message_keys (
    organization_id uuid  NOT NULL,
    key             text  NOT NULL,
    message_id      uuid  NOT NULL,
    -- SHA-256 of the request that made the message.
    fingerprint     bytea NOT NULL,

    PRIMARY KEY (organization_id, key)
);

-- --- jobs of endpoints ------------------------------------------------------------------

ALTER TABLE jobs
    -- Null where the body is the message's.
    ALTER COLUMN payload DROP NOT NULL,
    ADD COLUMN endpoint_id uuid,
    ADD COLUMN message_id  uuid,
    -- Whether the body is the message's in an envelope: see `envelope`.
    ADD COLUMN enveloped   boolean NOT NULL DEFAULT false,
    -- The `webhook-id` it is sent under, when that is not the job's own id: a message's,
    -- or that of the job it repeats.
    ADD COLUMN webhook_id  text,
    ADD CONSTRAINT jobs_have_a_body CHECK (payload IS NOT NULL OR message_id IS NOT NULL),
    ADD CONSTRAINT jobs_envelope_a_message
        CHECK (NOT enveloped OR payload IS NULL AND message_id IS NOT NULL),
    ADD CONSTRAINT jobs_go_to_one_target CHECK (target_url IS NULL OR endpoint_id IS NULL);
CREATE INDEX jobs_of_endpoint_idx ON jobs (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX jobs_of_message_idx  ON jobs (message_id, id)  WHERE message_id IS NOT NULL;

-- A message's payload in the envelope of Standard Webhooks, to the byte what
-- `libs.common.envelopes` says.  It is spelled where a body is read and never stored: a
-- message to a thousand endpoints is there once.  Not IMMUTABLE, because `to_char` is not
-- known to be: it could not be inlined.
CREATE FUNCTION envelope(message_id uuid, event_type text, payload text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT '{"type":"' || event_type || '","timestamp":"'
           || to_char(
                  timestamp 'epoch' + interval '1 millisecond'
                      * ('x' || left(replace(message_id::text, '-', ''), 12))::bit(48)::bigint,
                  'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
           || '","data":' || payload || '}'
$$;

-- What an endpoint was sent, the latest first; and what of it went wrong.
ALTER TABLE attempts ADD COLUMN endpoint_id uuid;
CREATE INDEX attempts_of_endpoint_idx ON attempts (endpoint_id, started_at)
 WHERE endpoint_id IS NOT NULL;
CREATE INDEX attempts_failed_at_endpoint_idx ON attempts (endpoint_id, started_at)
 WHERE endpoint_id IS NOT NULL AND verdict <> 'delivered';

-- What is held because its endpoint is disabled: it goes on when that is enabled.
ALTER TYPE transition ADD VALUE 'held' AFTER 'due';
ALTER TABLE held ADD COLUMN at_rest boolean NOT NULL DEFAULT false;
CREATE INDEX held_at_rest_idx ON held (lane_id, job_id) WHERE at_rest;

-- An endpoint's lanes: 'endpoint:<id>' is their destination.  Retries of push jobs have a
-- lane of their own, so that a storm of them leaves room for what is new.
ALTER TABLE lanes
    ADD COLUMN endpoint_id   uuid GENERATED ALWAYS AS (
        CASE WHEN starts_with(destination, 'endpoint:')
             THEN substr(destination, length('endpoint:') + 1)::uuid END
    ) STORED,
    ADD COLUMN retries       boolean NOT NULL DEFAULT false,
    ADD COLUMN retry_lane_id integer,
    DROP CONSTRAINT lanes_organization_id_queue_name_destination_key,
    ADD CONSTRAINT lanes_are_distinct UNIQUE (organization_id, queue_name, destination, retries);
CREATE INDEX lanes_of_endpoint_idx ON lanes (endpoint_id) WHERE endpoint_id IS NOT NULL;
INSERT INTO lanes (organization_id, queue_name, destination, retired, opened_at, retries)
SELECT organization_id, queue_name, destination, retired, opened_at, true
  FROM lanes
 WHERE push;
UPDATE lanes
   SET retry_lane_id = second.id
  FROM lanes AS second
 WHERE second.organization_id = lanes.organization_id
   AND second.queue_name = lanes.queue_name
   AND second.destination = lanes.destination
   AND second.retries
   AND NOT lanes.retries;

-- --- what lists show --------------------------------------------------------------------

-- How many deliveries of an endpoint have not begun, or wait for another attempt: walks
-- its own lanes and nothing else.
CREATE FUNCTION waiting_at(endpoint uuid)
RETURNS bigint LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT count(*)
      FROM lanes
     CROSS JOIN LATERAL (
            SELECT FROM ready WHERE ready.lane_id = lanes.id
            UNION ALL
            SELECT FROM scheduled WHERE scheduled.lane_id = lanes.id
            UNION ALL
            SELECT FROM waiting WHERE waiting.lane_id = lanes.id
            UNION ALL
            SELECT FROM held WHERE held.lane_id = lanes.id
           ) AS standing
     WHERE lanes.endpoint_id = endpoint
$$;

-- An endpoint as the API shows it: with the public half of what signs, how it does, and
-- how many jobs wait for it.  Nothing sealed is in it.
CREATE VIEW endpoints_shown AS
SELECT endpoints.id, endpoints.organization_id, endpoints.url, endpoints.description,
       endpoints.event_types, endpoints.filter, endpoints.headers, endpoints.format,
       endpoints.enabled,
       endpoints.disabled_reason, endpoints.disabled_at, endpoints.timeout_seconds,
       endpoints.retry, endpoints.max_retries, endpoints.rate_limit_per_second,
       endpoints.max_concurrency, endpoints.ordered, endpoints.signature_scheme,
       endpoints.auth_shown, endpoints.tls_shown, endpoints.metadata, endpoints.version,
       endpoints.created_at, endpoints.updated_at, current.public_key,
       health.open_until, nullif(health.throttled_until, '-infinity') AS throttled_until,
       health.consecutive_failures,
       health.failing_since, health.last_success_at, health.last_failure_at,
       health.last_error, lately.succeeded, lately.failed, lately.duration_ms,
       waiting_at(endpoints.id) AS waiting
  FROM endpoints
  LEFT JOIN endpoint_secrets AS current ON current.endpoint_id = endpoints.id
                                       AND current.expires_at IS NULL
  LEFT JOIN endpoint_health AS health ON health.endpoint_id = endpoints.id
 CROSS JOIN LATERAL (
        SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded,
               coalesce(sum(failed), 0)::bigint AS failed,
               sum(duration_ms) AS duration_ms
          FROM endpoint_minutes
         WHERE endpoint_minutes.endpoint_id = endpoints.id
           AND minute > now() - interval '24 hours'
       ) AS lately
 WHERE endpoints.kind = 'endpoint'
   AND endpoints.deleted_at IS NULL;

-- --- partitions -------------------------------------------------------------------------

-- As before, for messages too: see 0002.
CREATE OR REPLACE FUNCTION create_partitions(since timestamptz, until timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    week    timestamp;
    parent  text;
    name    text;
    created integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bellhop.create_partitions'));
    FOR week IN
        SELECT generate_series(date_trunc('week', since AT TIME ZONE 'UTC'),
                               date_trunc('week', until AT TIME ZONE 'UTC'), '1 week')
    LOOP
        FOREACH parent IN ARRAY
            ARRAY['jobs', 'finished', 'attempts', 'journal', 'messages']
        LOOP
            name := parent || to_char(week, '_IYYY"w"IW');
            IF to_regclass(name) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
                EXECUTE format(
                    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    parent, name,
                    first_id_at(week AT TIME ZONE 'UTC'),
                    first_id_at((week + interval '1 week') AT TIME ZONE 'UTC'));
                created := created + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN created;
END
$$;
