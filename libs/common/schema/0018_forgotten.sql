-- Up to which transaction the journal may have been forgotten: who says that it was told
-- up to there has missed what nobody knows any more.
ALTER TABLE announced ADD COLUMN forgotten_xid xid8 NOT NULL DEFAULT '0';

-- A week is about to lose what it has in the journal from before a moment.
CREATE FUNCTION note_forgotten(week date, until timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    last xid8;
BEGIN
    EXECUTE format('SELECT xid FROM %I WHERE at < $1 ORDER BY xid DESC, seq DESC LIMIT 1',
                   partition_of('journal', week))
       INTO last
      USING until;
    UPDATE announced SET forgotten_xid = last WHERE last > forgotten_xid;
END
$$;
