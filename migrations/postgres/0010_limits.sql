-- Why: rate limits that hold over all hosts.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at rates,
-- and it takes what was put aside for them only when `available_at` is there, within the hour.

-- What is kept of each key of a rate: one number, however often it is attempted. Only who holds the
-- lock of the plugin writes here.
CREATE TABLE rate_buckets (
    event_type outbox_name NOT NULL,
    plugin     text        NOT NULL COLLATE "C",
    -- A value of the payload; empty where the rate has no key.
    rate_key   text        NOT NULL COLLATE "C",
    -- From when on one more attempt is free.
    next_at    timestamptz NOT NULL,
    -- How many wait for it.
    waiting    bigint      NOT NULL CHECK (waiting >= 0),
    PRIMARY KEY (event_type, plugin, rate_key)
) WITH (
    -- Each claim writes the rows of its keys again.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- The keys that something waits for, by when they have room.
CREATE INDEX rate_buckets_waiting ON rate_buckets (event_type, next_at) WHERE waiting > 0;

-- PENDING events that wait for their rate, beside the outbox: nobody else pays for them. No foreign
-- key, for it would lock rows of the outbox.
CREATE TABLE rate_waiting (
    event_id   uuid        NOT NULL PRIMARY KEY,
    event_type outbox_name NOT NULL,
    plugin     text        NOT NULL COLLATE "C",
    rate_key   text        NOT NULL COLLATE "C",
    -- Since when it is due: the order within its key, and its age.
    due_at     timestamptz NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- The next of a key.
CREATE INDEX rate_waiting_of ON rate_waiting (event_type, plugin, rate_key, due_at, event_id);

-- The oldest of a type, for the backlog.
CREATE INDEX rate_waiting_since ON rate_waiting (event_type, due_at);
