-- Why: routes can be paused.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at
-- route_controls, so until the last one is replaced, a paused route goes on where it runs.

-- What operators say about an event type. Claims look at it; a type without a row is not paused.
CREATE TABLE route_controls (
    event_type TEXT    NOT NULL PRIMARY KEY
        CHECK (event_type GLOB '[A-Z]*' AND event_type NOT GLOB '*[^A-Z0-9_]*' AND length(CAST(event_type AS BLOB)) <= 64),
    paused     INTEGER NOT NULL CHECK (paused IN (0, 1)),
    -- Why it was paused or resumed last, by whom, and when.
    reason     TEXT    NOT NULL,
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
