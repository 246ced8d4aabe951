-- Why: an operator gives a FAILED event up, so that an ordered route goes on behind it, and cancels
-- one that has not begun.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- Since when nobody waits for this FAILED event any more: it was skipped or cancelled. A replay
-- clears it.
ALTER TABLE outbox_events ADD COLUMN skipped_at INTEGER CHECK (skipped_at IS NULL OR status = 'FAILED');

-- SQLite changes a CHECK only by copying the table, which for millions of events takes minutes. A
-- CHECK that allows more concerns no stored row, so its text is changed instead, as SQLite's page on
-- ALTER TABLE describes it. Should the text not be as expected, nothing is changed, and the test
-- that compares the CHECKs with the enums fails.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, '''expired'', ''malformed'')', '''expired'', ''malformed'', ''cancelled'')')
    WHERE type = 'table' AND name = 'outbox_events';
UPDATE sqlite_schema
    SET sql = replace(sql, '''failed'', ''replayed'')', '''failed'', ''replayed'', ''skipped'', ''cancelled'')')
    WHERE type = 'table' AND name = 'outbox_attempts';

-- This connection reads the schema anew, and the next two statements change its version, so that
-- every other one does too.
PRAGMA writable_schema = RESET;
CREATE TABLE schema_was_changed (n INTEGER) STRICT;
DROP TABLE schema_was_changed;
