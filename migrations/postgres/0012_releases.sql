-- Why: releases of plugins are kept in the database, and become live on all hosts or on none.
-- What the previous binary sees meanwhile: the same tables and columns. It takes its plugins from
-- its folder as before, and of an event that was tried on a canary it cannot show the history.

-- Components by their digest, once however many releases have them. Never changed.
CREATE TABLE component_artifacts (
    digest    text        NOT NULL PRIMARY KEY COLLATE "C" CHECK (digest ~ '^[0-9a-f]{64}$'),
    bytes     bytea       NOT NULL CHECK (octet_length(bytes) BETWEEN 1 AND 67108864),
    stored_at timestamptz NOT NULL
);

-- What operators say about a plugin. Its row is also the lock under which its releases change.
CREATE TABLE plugins (
    plugin     text        NOT NULL PRIMARY KEY COLLATE "C",
    disabled   boolean     NOT NULL,
    -- Why it was disabled or enabled last, by whom, and when.
    reason     text        NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE plugin_releases (
    plugin          text        NOT NULL COLLATE "C" REFERENCES plugins (plugin),
    -- 1, 2, 3 … within the plugin: what people call it by.
    number          bigint      NOT NULL CHECK (number > 0),
    digest          text        NOT NULL COLLATE "C" REFERENCES component_artifacts (digest),
    manifest        text        NOT NULL,
    manifest_digest text        NOT NULL,
    signature       text,
    state           text        NOT NULL CHECK (state IN
        ('HELD', 'PREPARING', 'CANARY', 'LIVE', 'RETIRED', 'ROLLED_BACK', 'REJECTED', 'SUPERSEDED')),
    -- Why it is held, was rejected or rolled back.
    reason          text,
    -- The canary's part of the aggregates, in hundredths of a per cent; none without a canary.
    canary_share    bigint      CHECK (canary_share BETWEEN 1 AND 10000),
    -- After so many events the canary is promoted.
    canary_events   bigint      CHECK (canary_events > 0),
    -- The caller's Idempotency-Key.
    asked_key       text,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL,
    -- Since when it is in its state.
    state_at        timestamptz NOT NULL,
    -- When it became live last; none if it never was.
    live_at         timestamptz,
    PRIMARY KEY (plugin, number),
    CHECK ((canary_share IS NULL) = (canary_events IS NULL)),
    CHECK (state <> 'CANARY' OR canary_share IS NOT NULL),
    CHECK (state NOT IN ('LIVE', 'RETIRED') OR live_at IS NOT NULL)
);

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
    host       text        NOT NULL PRIMARY KEY COLLATE "C",
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

-- What a host made of a release.
CREATE TABLE host_releases (
    host        text        NOT NULL COLLATE "C",
    plugin      text        NOT NULL COLLATE "C",
    number      bigint      NOT NULL,
    verdict     text        NOT NULL CHECK (verdict IN ('prepared', 'live', 'rejected')),
    reason      text,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (host, plugin, number),
    CHECK ((verdict = 'rejected') = (reason IS NOT NULL))
);

-- What a canary is judged by: each host's own sums since the canary began, on both sides.
CREATE TABLE canary_tallies (
    host       text        NOT NULL COLLATE "C",
    plugin     text        NOT NULL COLLATE "C",
    number     bigint      NOT NULL,
    side       text        NOT NULL CHECK (side IN ('live', 'canary')),
    handled    bigint      NOT NULL CHECK (handled >= 0),
    failed     bigint      NOT NULL CHECK (failed BETWEEN 0 AND handled),
    -- How many took how long: counts, from the shortest stretch on, with commas between.
    latencies  text        NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (host, plugin, number, side)
) WITH (
    -- Each host writes its rows again every second.
    fillfactor = 50
);

-- What became of releases, and why: for people.
CREATE TABLE release_decisions (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plugin     text        NOT NULL COLLATE "C",
    -- None: it concerns the plugin.
    number     bigint,
    kind       text        NOT NULL CHECK (kind IN
        ('deployed', 'held', 'approved', 'rejected', 'canary', 'promoted', 'live', 'rolled back',
         'superseded', 'disabled', 'enabled')),
    reason     text        NOT NULL,
    decided_by text        NOT NULL,
    decided_at timestamptz NOT NULL
);

-- The history of one plugin.
CREATE INDEX release_decisions_of ON release_decisions (plugin, id);

-- NOT VALID: the old rows kept a narrower rule, so there is nothing to look for, and reading a big
-- table would lock it meanwhile.
ALTER TABLE outbox_attempts
    DROP CONSTRAINT outbox_attempts_kind_check,
    ADD CONSTRAINT outbox_attempts_kind_check CHECK (kind IN
        ('retry', 'unknown', 'defer', 'interrupted', 'lease lost', 'failed', 'replayed', 'skipped',
         'cancelled', 'canary')) NOT VALID;
