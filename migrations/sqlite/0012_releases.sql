-- Why: releases of plugins are kept in the database, and become live on all hosts or on none.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- Components by their digest, once however many releases have them. Never changed.
CREATE TABLE component_artifacts (
    digest    TEXT    NOT NULL PRIMARY KEY CHECK (length(digest) = 64 AND digest NOT GLOB '*[^0-9a-f]*'),
    bytes     BLOB    NOT NULL CHECK (length(bytes) BETWEEN 1 AND 67108864),
    stored_at INTEGER NOT NULL
) STRICT;

-- What operators say about a plugin. Its row is also the lock under which its releases change.
CREATE TABLE plugins (
    plugin     TEXT    NOT NULL PRIMARY KEY,
    disabled   INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    -- Why it was disabled or enabled last, by whom, and when.
    reason     TEXT    NOT NULL,
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin_releases (
    plugin          TEXT    NOT NULL REFERENCES plugins (plugin),
    -- 1, 2, 3 … within the plugin: what people call it by.
    number          INTEGER NOT NULL CHECK (number > 0),
    digest          TEXT    NOT NULL REFERENCES component_artifacts (digest),
    manifest        TEXT    NOT NULL,
    manifest_digest TEXT    NOT NULL,
    signature       TEXT,
    state           TEXT    NOT NULL CHECK (state IN
        ('HELD', 'PREPARING', 'CANARY', 'LIVE', 'RETIRED', 'ROLLED_BACK', 'REJECTED', 'SUPERSEDED')),
    -- Why it is held, was rejected or rolled back.
    reason          TEXT,
    -- The canary's part of the aggregates, in hundredths of a per cent; none without a canary.
    canary_share    INTEGER CHECK (canary_share BETWEEN 1 AND 10000),
    -- After so many events the canary is promoted.
    canary_events   INTEGER CHECK (canary_events > 0),
    -- The caller's Idempotency-Key.
    asked_key       TEXT,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    -- Since when it is in its state.
    state_at        INTEGER NOT NULL,
    -- When it became live last; none if it never was.
    live_at         INTEGER,
    PRIMARY KEY (plugin, number),
    CHECK ((canary_share IS NULL) = (canary_events IS NULL)),
    CHECK (state <> 'CANARY' OR canary_share IS NOT NULL),
    CHECK (state NOT IN ('LIVE', 'RETIRED') OR live_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- A plugin has at most one live release, and at most one that may become it.
CREATE UNIQUE INDEX plugin_releases_live ON plugin_releases (plugin) WHERE state = 'LIVE';
CREATE UNIQUE INDEX plugin_releases_candidate ON plugin_releases (plugin)
    WHERE state IN ('HELD', 'PREPARING', 'CANARY');

-- One request, one release.
CREATE UNIQUE INDEX plugin_releases_asked ON plugin_releases (created_by, asked_key)
    WHERE asked_key IS NOT NULL;

-- Hosts that take their plugins from here, and when each was heard of last, by this clock. A host
-- has a row for each of its starts.
CREATE TABLE hosts (
    host       TEXT    NOT NULL PRIMARY KEY,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a host made of a release.
CREATE TABLE host_releases (
    host        TEXT    NOT NULL,
    plugin      TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    verdict     TEXT    NOT NULL CHECK (verdict IN ('prepared', 'live', 'rejected')),
    reason      TEXT,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (host, plugin, number),
    CHECK ((verdict = 'rejected') = (reason IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- What a canary is judged by: each host's own sums since the canary began, on both sides.
CREATE TABLE canary_tallies (
    host       TEXT    NOT NULL,
    plugin     TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    side       TEXT    NOT NULL CHECK (side IN ('live', 'canary')),
    handled    INTEGER NOT NULL CHECK (handled >= 0),
    failed     INTEGER NOT NULL CHECK (failed BETWEEN 0 AND handled),
    -- How many took how long: counts, from the shortest stretch on, with commas between.
    latencies  TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (host, plugin, number, side)
) STRICT, WITHOUT ROWID;

-- What became of releases, and why: for people.
CREATE TABLE release_decisions (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    plugin     TEXT    NOT NULL,
    -- None: it concerns the plugin.
    number     INTEGER,
    kind       TEXT    NOT NULL CHECK (kind IN
        ('deployed', 'held', 'approved', 'rejected', 'canary', 'promoted', 'live', 'rolled back',
         'superseded', 'disabled', 'enabled')),
    reason     TEXT    NOT NULL,
    decided_by TEXT    NOT NULL,
    decided_at INTEGER NOT NULL
) STRICT;

-- The history of one plugin.
CREATE INDEX release_decisions_of ON release_decisions (plugin, id);

-- A CHECK that allows more concerns no stored row, so its text is changed, as in 0002.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, '''cancelled'')', '''cancelled'', ''canary'')')
    WHERE type = 'table' AND name = 'outbox_attempts';

-- This connection reads the schema anew, and the next two statements change its version, so that
-- every other one does too.
PRAGMA writable_schema = RESET;
CREATE TABLE schema_was_changed (n INTEGER) STRICT;
DROP TABLE schema_was_changed;
