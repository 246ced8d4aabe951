-- Why: routes can be paused, and what is finished is deleted after a time.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at
-- route_controls, so until the last one is replaced, a paused route goes on where it runs. Its
-- writes wait while the indexes are built, which is a moment only on a small table.

-- What operators say about an event type. Claims look at it; a type without a row is not paused.
CREATE TABLE route_controls (
    event_type outbox_name NOT NULL PRIMARY KEY,
    paused     boolean     NOT NULL,
    -- Why it was paused or resumed last, by whom, and when.
    reason     text        NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Retention: what has been finished for longest. Times only grow, so each entry goes to the end:
-- it costs 70 bytes of WAL an event, and no speed that could be told from noise.
CREATE INDEX outbox_events_done_at ON outbox_events (updated_at) WHERE status = 'DONE';

-- Retention: the oldest answers. Rows are never changed and stand in the order of their time, so
-- a summary of each stretch of the table is enough, and accepting pays nothing for it.
CREATE INDEX idempotency_keys_created_at ON idempotency_keys USING brin (created_at)
    WITH (pages_per_range = 32, autosummarize = on);
