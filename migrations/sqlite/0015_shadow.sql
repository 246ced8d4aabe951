-- Why: a release can be a shadow: it gets copies of attempts, and what it does is compared with what
-- the live release did, and goes nowhere.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- The shadow's part of the aggregates, in hundredths of a per cent; none without a shadow, and where
-- there is a canary.
ALTER TABLE plugin_releases ADD COLUMN shadow_share INTEGER
    CHECK (shadow_share BETWEEN 1 AND 10000)
    CHECK (shadow_share IS NULL OR canary_share IS NULL)
    CHECK (state <> 'SHADOW' OR shadow_share IS NOT NULL);
-- After so many copies no more are made.
ALTER TABLE plugin_releases ADD COLUMN shadow_events INTEGER
    CHECK (shadow_events > 0)
    CHECK ((shadow_share IS NULL) = (shadow_events IS NULL));

-- A plugin has at most one release that may become live.
DROP INDEX plugin_releases_candidate;
CREATE UNIQUE INDEX plugin_releases_candidate ON plugin_releases (plugin)
    WHERE state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW');

-- What is reported of a shadow: each host's own sums.
CREATE TABLE shadow_tallies (
    host        TEXT    NOT NULL,
    plugin      TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    -- Copies that did what the live release did, and that did not.
    same        INTEGER NOT NULL CHECK (same >= 0),
    different   INTEGER NOT NULL CHECK (different >= 0),
    -- JSON: attempts that were not compared, by the reason.
    skipped     TEXT    NOT NULL,
    -- JSON: copies by the kinds of their differences.
    differences TEXT    NOT NULL,
    -- JSON: a few events, and how their copies differed.
    examples    TEXT    NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (host, plugin, number)
) STRICT, WITHOUT ROWID;

-- CHECKs that allow more concern no stored row, so their text is changed, as in 0002.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, '''CANARY'', ''LIVE''', '''CANARY'', ''SHADOW'', ''LIVE''')
    WHERE type = 'table' AND name = 'plugin_releases';
UPDATE sqlite_schema
    SET sql = replace(sql, '''canary'', ''promoted''', '''canary'', ''shadow'', ''promoted''')
    WHERE type = 'table' AND name = 'release_decisions';

-- This connection reads the schema anew, and the next two statements change its version, so that
-- every other one does too.
PRAGMA writable_schema = RESET;
CREATE TABLE schema_was_changed (n INTEGER) STRICT;
DROP TABLE schema_was_changed;
