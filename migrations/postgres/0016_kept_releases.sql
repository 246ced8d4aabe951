-- Why: of releases that nobody goes back to, the component's bytes are deleted, and what stands there
-- beside the digest stays for people. And a plugin from a folder that asks for more than before is
-- held until somebody approves its manifest.
-- What the previous binary sees meanwhile: the same tables and columns. It reads bytes only of
-- releases that are live or may become so, and theirs stay.

ALTER TABLE component_artifacts ALTER COLUMN bytes DROP NOT NULL;

-- Manifests that plugins of a folder may have: each that was live, and each that was approved.
CREATE TABLE approved_manifests (
    plugin          text        NOT NULL COLLATE "C",
    manifest_digest text        NOT NULL COLLATE "C" CHECK (length(manifest_digest) = 64),
    -- The text, once it was live: what the next one is compared with after a start.
    manifest        text,
    -- When it became live last.
    live_at         timestamptz,
    -- Why it was approved, by whom, and when; none if it asked for nothing more.
    reason          text,
    approved_by     text,
    approved_at     timestamptz,
    PRIMARY KEY (plugin, manifest_digest),
    CHECK ((manifest IS NULL) = (live_at IS NULL)),
    CHECK ((reason IS NULL) = (approved_at IS NULL) AND (approved_by IS NULL) = (approved_at IS NULL))
);
