-- Why: the first schema. Withdrawals, the outbox, and what makes a payment safe.
-- What the previous binary sees meanwhile: there is none.
--
-- UUIDs are lower-case text and times are microseconds since 1970 in UTC, so that the file can
-- be read, and the outbox be written, with nothing but the sqlite3 command. Defaults use
-- julianday() instead of newer functions, for they run in the library of whoever inserts.

CREATE TABLE withdrawals (
    id                  TEXT    NOT NULL PRIMARY KEY
        CHECK (length(id) = 36 AND id LIKE '________-____-____-____-____________' AND id NOT GLOB '*[^0-9a-f-]*'),
    user_id             TEXT    NOT NULL,
    asset               TEXT    NOT NULL,
    network             TEXT    NOT NULL,
    -- An exact decimal: SQLite's own numbers are floats beyond 2^63.
    amount              TEXT    NOT NULL CHECK (amount GLOB '*[1-9]*' AND amount NOT GLOB '*[^0-9.]*'),
    destination_address TEXT    NOT NULL,
    status              TEXT    NOT NULL CHECK (status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    tx_hash             TEXT,
    failure_reason      TEXT,
    requested_at        INTEGER NOT NULL,
    broadcasted_at      INTEGER,
    confirmed_at        INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    CHECK (status <> 'REQUESTED' OR (tx_hash IS NULL AND broadcasted_at IS NULL)),
    CHECK (status NOT IN ('BROADCASTED', 'CONFIRMED') OR (tx_hash IS NOT NULL AND broadcasted_at IS NOT NULL)),
    CHECK ((tx_hash IS NULL) = (broadcasted_at IS NULL)),
    CHECK ((status = 'CONFIRMED') = (confirmed_at IS NOT NULL)),
    CHECK ((status = 'FAILED') = (failure_reason IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- GET /v1/withdrawals of one user, newest first.
CREATE INDEX withdrawals_of_user ON withdrawals (user_id, id);

-- Open payments and what they may still cost: few rows, however many are finished.
CREATE INDEX withdrawals_open ON withdrawals (id) WHERE status IN ('REQUESTED', 'BROADCASTED');

-- The steps that a withdrawal took. REQUESTED has no row: `requested_at` tells it.
CREATE TABLE withdrawal_transitions (
    id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    withdrawal_id TEXT    NOT NULL REFERENCES withdrawals (id),
    from_status   TEXT    NOT NULL CHECK (from_status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    to_status     TEXT    NOT NULL CHECK (to_status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    tx_hash       TEXT,
    reason        TEXT,
    evidence      TEXT    CHECK (evidence IS NULL OR json_valid(evidence)),
    created_at    INTEGER NOT NULL
) STRICT;

-- The timeline of one withdrawal.
CREATE INDEX withdrawal_transitions_of ON withdrawal_transitions (withdrawal_id, id);

-- The outbox, and a public contract: whoever shares the file inserts (aggregate_type,
-- aggregate_id, event_type, payload) in a transaction of its own; everything else has a default.
CREATE TABLE outbox_events (
    -- The order written, whatever the clocks say: what ordered routes follow.
    position           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id                 TEXT    NOT NULL
        DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))
        CHECK (length(id) = 36 AND id LIKE '________-____-____-____-____________' AND id NOT GLOB '*[^0-9a-f-]*'),
    aggregate_type     TEXT    NOT NULL
        CHECK (aggregate_type GLOB '[A-Z]*' AND aggregate_type NOT GLOB '*[^A-Z0-9_]*' AND length(CAST(aggregate_type AS BLOB)) <= 64),
    aggregate_id       TEXT    NOT NULL
        CHECK (length(CAST(aggregate_id AS BLOB)) BETWEEN 1 AND 128 AND instr(aggregate_id, char(0)) = 0
            AND aggregate_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    event_type         TEXT    NOT NULL
        CHECK (event_type GLOB '[A-Z]*' AND event_type NOT GLOB '*[^A-Z0-9_]*' AND length(CAST(event_type AS BLOB)) <= 64),
    payload            TEXT    NOT NULL CHECK (json_valid(payload)),
    idempotency_key    TEXT    NOT NULL
        DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))
        CHECK (length(idempotency_key) = 36 AND idempotency_key LIKE '________-____-____-____-____________'
            AND idempotency_key NOT GLOB '*[^0-9a-f-]*'),
    status             TEXT    NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'PROCESSING', 'RETRYING', 'DONE', 'FAILED')),
    attempt_count      INTEGER NOT NULL DEFAULT 0 CHECK (attempt_count BETWEEN 0 AND 2147483647),
    interruption_count INTEGER NOT NULL DEFAULT 0 CHECK (interruption_count BETWEEN 0 AND 2147483647),
    deferral_count     INTEGER NOT NULL DEFAULT 0 CHECK (deferral_count BETWEEN 0 AND 2147483647),
    outcome_unknown    INTEGER NOT NULL DEFAULT 0 CHECK (outcome_unknown IN (0, 1)),
    next_retry_at      INTEGER,
    -- What went wrong last; kept when the event is DONE.
    last_error         TEXT,
    failure_code       TEXT    CHECK (failure_code IN
        ('rejected', 'attempts exhausted', 'deferrals exhausted', 'poison', 'expired', 'malformed')),
    detail             TEXT,
    locked_by          TEXT,
    locked_until       INTEGER,
    -- Grows with each claim and is never reset: who settles with an older one settles nothing.
    lease_token        INTEGER NOT NULL DEFAULT 0,
    release_digest     TEXT,
    available_at       INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000),
    valid_until        INTEGER,
    traceparent        TEXT    CHECK (length(traceparent) <= 256 AND traceparent NOT GLOB '*[^!-~]*'),
    created_at         INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000),
    updated_at         INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000),
    CHECK ((status = 'PROCESSING') = (locked_by IS NOT NULL)),
    CHECK ((status = 'PROCESSING') = (locked_until IS NOT NULL)),
    CHECK ((status = 'RETRYING') = (next_retry_at IS NOT NULL)),
    CHECK ((status = 'FAILED') = (failure_code IS NOT NULL))
) STRICT;

-- GET /v1/events/{id}, and the settle's way to its rows.
CREATE UNIQUE INDEX outbox_events_id ON outbox_events (id);

-- One key is one event.
CREATE UNIQUE INDEX outbox_events_key ON outbox_events (idempotency_key);

-- Claim: the oldest due events of one type. The position, which ends every index, breaks ties.
CREATE INDEX outbox_events_pending ON outbox_events (event_type, available_at) WHERE status = 'PENDING';

-- Leases that ran out: the few rows in hand are read and filtered.
CREATE INDEX outbox_events_processing ON outbox_events (id) WHERE status = 'PROCESSING';

-- Promote: what is due again.
CREATE INDEX outbox_events_retrying ON outbox_events (next_retry_at) WHERE status = 'RETRYING';

-- Poison, and events that may expire: both are rare.
CREATE INDEX outbox_events_interrupted ON outbox_events (id)
    WHERE interruption_count > 0 AND status IN ('PENDING', 'RETRYING');
CREATE INDEX outbox_events_expiring ON outbox_events (valid_until)
    WHERE valid_until IS NOT NULL AND status IN ('PENDING', 'RETRYING');

-- The list of failures, newest first.
CREATE INDEX outbox_events_failed ON outbox_events (id) WHERE status = 'FAILED';

-- Ordered routes: whether an earlier event of an aggregate is not done. Apart from the finished
-- ones, so that an aggregate with a long past costs what one without costs.
CREATE INDEX outbox_events_open_of ON outbox_events (aggregate_id, position) WHERE status <> 'DONE';

-- The timeline: the other events of an aggregate. Together both hold each row once.
CREATE INDEX outbox_events_done_of ON outbox_events (aggregate_id, position) WHERE status = 'DONE';

-- What happened to an event besides DONE: attempts that ended otherwise, and what operators did.
CREATE TABLE outbox_attempts (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    event_id       TEXT    NOT NULL,
    kind           TEXT    NOT NULL CHECK (kind IN
        ('retry', 'unknown', 'defer', 'interrupted', 'lease lost', 'failed', 'replayed')),
    attempt        INTEGER NOT NULL CHECK (attempt BETWEEN 0 AND 4294967295),
    reason         TEXT    NOT NULL,
    plugin         TEXT,
    release_digest TEXT,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER NOT NULL
) STRICT;

-- The history of one event.
CREATE INDEX outbox_attempts_of ON outbox_attempts (event_id, id);

-- What was answered for an Idempotency-Key, written with what it caused.
CREATE TABLE idempotency_keys (
    scope           TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    answer_status   INTEGER NOT NULL CHECK (answer_status BETWEEN 100 AND 599),
    answer_location TEXT    NOT NULL,
    answer_body     TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- What a handler keeps from one attempt to the next.
CREATE TABLE checkpoints (
    event_id   TEXT    NOT NULL PRIMARY KEY,
    bytes      BLOB    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Accounts that pay. `next_nonce` only grows.
CREATE TABLE chain_accounts (
    chain_id      INTEGER NOT NULL CHECK (chain_id >= 0),
    address       TEXT    NOT NULL CHECK (address LIKE '0x%' AND address = lower(address)),
    next_nonce    INTEGER NOT NULL CHECK (next_nonce >= 0),
    frozen_reason TEXT,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (chain_id, address)
) STRICT, WITHOUT ROWID;

-- The one nonce of a withdrawal, for ever: what makes paying twice impossible.
CREATE TABLE withdrawal_nonces (
    withdrawal_id TEXT    NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    chain_id      INTEGER NOT NULL,
    account       TEXT    NOT NULL,
    nonce         INTEGER NOT NULL CHECK (nonce >= 0),
    created_at    INTEGER NOT NULL,
    -- No nonce pays for two withdrawals.
    UNIQUE (chain_id, account, nonce),
    -- What signed_transactions points to.
    UNIQUE (withdrawal_id, chain_id, account, nonce),
    FOREIGN KEY (chain_id, account) REFERENCES chain_accounts (chain_id, address)
) STRICT;

-- Every byte that was ever signed, stored before any node could see it. The foreign key says
-- that all of a withdrawal's have its one nonce.
CREATE TABLE signed_transactions (
    id                       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    withdrawal_id            TEXT    NOT NULL,
    chain_id                 INTEGER NOT NULL,
    account                  TEXT    NOT NULL,
    nonce                    INTEGER NOT NULL,
    hash                     TEXT    NOT NULL UNIQUE CHECK (hash LIKE '0x%' AND hash = lower(hash)),
    kind                     TEXT    NOT NULL CHECK (kind IN ('PAYMENT', 'CLOSING')),
    raw                      BLOB    NOT NULL,
    gas_limit                INTEGER NOT NULL CHECK (gas_limit >= 0),
    fee_max_per_gas          TEXT    NOT NULL CHECK (fee_max_per_gas NOT GLOB '*[^0-9]*'),
    priority_fee_max_per_gas TEXT    NOT NULL CHECK (priority_fee_max_per_gas NOT GLOB '*[^0-9]*'),
    native_cost_max          TEXT    NOT NULL CHECK (native_cost_max NOT GLOB '*[^0-9]*'),
    asset_units              TEXT    NOT NULL CHECK (asset_units NOT GLOB '*[^0-9]*'),
    signed_at                INTEGER NOT NULL,
    FOREIGN KEY (withdrawal_id, chain_id, account, nonce)
        REFERENCES withdrawal_nonces (withdrawal_id, chain_id, account, nonce)
) STRICT;

-- What was signed for a withdrawal, in order.
CREATE INDEX signed_transactions_of ON signed_transactions (withdrawal_id, id);

-- The fees of an account's last 24 hours.
CREATE INDEX signed_transactions_of_account ON signed_transactions (chain_id, account, signed_at);

CREATE TRIGGER withdrawal_nonces_are_never_changed BEFORE UPDATE ON withdrawal_nonces
BEGIN SELECT RAISE(ABORT, 'withdrawal_nonces is append-only'); END;
CREATE TRIGGER withdrawal_nonces_are_never_deleted BEFORE DELETE ON withdrawal_nonces
BEGIN SELECT RAISE(ABORT, 'withdrawal_nonces is append-only'); END;
CREATE TRIGGER signed_transactions_are_never_changed BEFORE UPDATE ON signed_transactions
BEGIN SELECT RAISE(ABORT, 'signed_transactions is append-only'); END;
CREATE TRIGGER signed_transactions_are_never_deleted BEFORE DELETE ON signed_transactions
BEGIN SELECT RAISE(ABORT, 'signed_transactions is append-only'); END;
