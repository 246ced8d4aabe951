-- Why: of releases that nobody goes back to, the component's bytes are deleted, and what stands there
-- beside the digest stays for people. And a plugin from a folder that asks for more than before is
-- held until somebody approves its manifest.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- SQLite takes a NOT NULL away only by copying the table. That no stored row loses by it, so the text
-- is changed, as in 0002.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, 'BLOB    NOT NULL CHECK', 'BLOB    CHECK')
    WHERE type = 'table' AND name = 'component_artifacts';

-- This connection reads the schema anew, and the next two statements change its version, so that
-- every other one does too.
PRAGMA writable_schema = RESET;
CREATE TABLE schema_was_changed (n INTEGER) STRICT;
DROP TABLE schema_was_changed;

-- Manifests that plugins of a folder may have: each that was live, and each that was approved.
CREATE TABLE approved_manifests (
    plugin          TEXT    NOT NULL,
    manifest_digest TEXT    NOT NULL CHECK (length(manifest_digest) = 64),
    -- The text, once it was live: what the next one is compared with after a start.
    manifest        TEXT,
    -- When it became live last.
    live_at         INTEGER,
    -- Why it was approved, by whom, and when; none if it asked for nothing more.
    reason          TEXT,
    approved_by     TEXT,
    approved_at     INTEGER,
    PRIMARY KEY (plugin, manifest_digest),
    CHECK ((manifest IS NULL) = (live_at IS NULL)),
    CHECK ((reason IS NULL) = (approved_at IS NULL) AND (approved_by IS NULL) = (approved_at IS NULL))
) STRICT, WITHOUT ROWID;
