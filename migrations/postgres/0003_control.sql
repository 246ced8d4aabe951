-- Why: routes can be paused.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at
-- route_controls, so until the last one is replaced, a paused route goes on where it runs.

-- What operators say about an event type. Claims look at it; a type without a row is not paused.
CREATE TABLE route_controls (
    event_type outbox_name NOT NULL PRIMARY KEY,
    paused     boolean     NOT NULL,
    -- Why it was paused or resumed last, by whom, and when.
    reason     text        NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL
);
