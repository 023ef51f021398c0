-- In which stretches of transaction numbers anything happened in an organization: who
-- was away for hours passes over those in which only others did something.  Written when
-- events are announced, so it is complete as far as that is said of it in `announced`.
CREATE TABLE stretches (
    organization_id uuid   NOT NULL,
    number          bigint NOT NULL,
    PRIMARY KEY (organization_id, number)
);
CREATE INDEX stretches_old_idx ON stretches (number);

-- A stretch is 8,192 numbers: of a house that commits a hundred times a second, a minute
-- and a half.
CREATE FUNCTION stretch_of(xid xid8)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN xid::text::bigint >> 13;

CREATE FUNCTION first_of_stretch(number bigint)
RETURNS xid8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (number << 13)::text::xid8;

-- From behind which transaction on, and up to which event, stretches were written
-- without a gap.  Whoever announces without writing them leaves one.
ALTER TABLE announced
    ADD COLUMN charted_since xid8,
    ADD COLUMN charted_xid   xid8,
    ADD COLUMN charted_seq   bigint;
