-- A key names one workflow of an organization: who asks for it again is given that one.

ALTER TABLE workflows
    ADD COLUMN idempotency_key text,
    -- SHA-256 of the request that made it.
    ADD COLUMN fingerprint     bytea,
    ADD CONSTRAINT workflows_key_has_fingerprint
        CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL));
CREATE UNIQUE INDEX workflows_once ON workflows (organization_id, idempotency_key)
 WHERE idempotency_key IS NOT NULL;
