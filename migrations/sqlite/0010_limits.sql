-- Why: rate limits, which hold over all hosts where there are several.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at rates,
-- and it takes what was put aside for them only when `available_at` is there, within the hour.

-- What is kept of each key of a rate: one number, however often it is attempted.
CREATE TABLE rate_buckets (
    event_type TEXT    NOT NULL,
    plugin     TEXT    NOT NULL,
    -- A value of the payload; empty where the rate has no key.
    rate_key   TEXT    NOT NULL,
    -- From when on one more attempt is free.
    next_at    INTEGER NOT NULL,
    -- How many wait for it.
    waiting    INTEGER NOT NULL CHECK (waiting >= 0),
    PRIMARY KEY (event_type, plugin, rate_key)
) STRICT, WITHOUT ROWID;

-- The keys that something waits for, by when they have room.
CREATE INDEX rate_buckets_waiting ON rate_buckets (event_type, next_at) WHERE waiting > 0;

-- PENDING events that wait for their rate, beside the outbox: nobody else pays for them.
CREATE TABLE rate_waiting (
    event_id   TEXT    NOT NULL PRIMARY KEY,
    event_type TEXT    NOT NULL,
    plugin     TEXT    NOT NULL,
    rate_key   TEXT    NOT NULL,
    -- Since when it is due: the order within its key, and its age.
    due_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The next of a key.
CREATE INDEX rate_waiting_of ON rate_waiting (event_type, plugin, rate_key, due_at, event_id);

-- The oldest of a type, for the backlog.
CREATE INDEX rate_waiting_since ON rate_waiting (event_type, due_at);
