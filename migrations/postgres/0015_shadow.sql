-- Why: a release can be a shadow: it gets copies of attempts, and what it does is compared with what
-- the live release did, and goes nowhere.
-- What the previous binary sees meanwhile: columns that it leaves empty. It cannot read a release that
-- is a SHADOW: as long as there is one, it goes on with what is live, follows no change of releases, and
-- does not start. So replace all hosts before the first deploy with `--shadow`.

ALTER TABLE plugin_releases
    -- The shadow's part of the aggregates, in hundredths of a per cent; none without a shadow.
    ADD COLUMN shadow_share  bigint CHECK (shadow_share BETWEEN 1 AND 10000),
    -- After so many copies no more are made.
    ADD COLUMN shadow_events bigint CHECK (shadow_events > 0),
    DROP CONSTRAINT plugin_releases_state_check,
    ADD CONSTRAINT plugin_releases_state_check CHECK (state IN
        ('HELD', 'PREPARING', 'CANARY', 'SHADOW', 'LIVE', 'RETIRED', 'ROLLED_BACK', 'REJECTED',
         'SUPERSEDED')),
    ADD CONSTRAINT plugin_releases_shadow_plan CHECK ((shadow_share IS NULL) = (shadow_events IS NULL)),
    ADD CONSTRAINT plugin_releases_shadow_has_plan CHECK (state <> 'SHADOW' OR shadow_share IS NOT NULL),
    ADD CONSTRAINT plugin_releases_one_trial CHECK (shadow_share IS NULL OR canary_share IS NULL);

-- A plugin has at most one release that may become live. Releases are few: people make them.
DROP INDEX plugin_releases_candidate;
CREATE UNIQUE INDEX plugin_releases_candidate ON plugin_releases (plugin)
    WHERE state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW');

ALTER TABLE release_decisions
    DROP CONSTRAINT release_decisions_kind_check,
    ADD CONSTRAINT release_decisions_kind_check CHECK (kind IN
        ('deployed', 'held', 'approved', 'rejected', 'canary', 'shadow', 'promoted', 'live',
         'rolled back', 'superseded', 'disabled', 'enabled'));

-- What is reported of a shadow: each host's own sums.
CREATE TABLE shadow_tallies (
    host        text        NOT NULL COLLATE "C",
    plugin      text        NOT NULL COLLATE "C",
    number      bigint      NOT NULL,
    -- Copies that did what the live release did, and that did not.
    same        bigint      NOT NULL CHECK (same >= 0),
    different   bigint      NOT NULL CHECK (different >= 0),
    -- JSON: attempts that were not compared, by the reason.
    skipped     text        NOT NULL,
    -- JSON: copies by the kinds of their differences.
    differences text        NOT NULL,
    -- JSON: a few events, and how their copies differed.
    examples    text        NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (host, plugin, number)
) WITH (
    -- Each host writes its row again every second.
    fillfactor = 50
);
