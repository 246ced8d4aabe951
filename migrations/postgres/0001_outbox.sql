-- Why: the first schema. Withdrawals, the outbox, and what makes a payment safe.
-- What the previous binary sees meanwhile: there is none.

-- Names are checked by domains: a domain is checked when a value is assigned, a table's CHECK
-- with every update of the row, and an event is updated at least twice.
CREATE DOMAIN outbox_name AS text COLLATE "C" CHECK (VALUE ~ '^[A-Z][A-Z0-9_]{0,63}$');
CREATE DOMAIN outbox_aggregate_id AS text COLLATE "C"
    CHECK (octet_length(VALUE) BETWEEN 1 AND 128 AND VALUE !~ '[\u0001-\u001f\u007f-\u009f]');
CREATE DOMAIN outbox_traceparent AS text COLLATE "C"
    CHECK (octet_length(VALUE) <= 256 AND VALUE ~ '^[!-~]+$');

CREATE TABLE withdrawals (
    id                  uuid        NOT NULL PRIMARY KEY,
    user_id             text        NOT NULL,
    asset               text        NOT NULL,
    network             text        NOT NULL,
    amount              numeric     NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    destination_address text        NOT NULL,
    status              text        NOT NULL CHECK (status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    tx_hash             text,
    failure_reason      text,
    requested_at        timestamptz NOT NULL,
    broadcasted_at      timestamptz,
    confirmed_at        timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    CHECK (status <> 'REQUESTED' OR (tx_hash IS NULL AND broadcasted_at IS NULL)),
    CHECK (status NOT IN ('BROADCASTED', 'CONFIRMED') OR (tx_hash IS NOT NULL AND broadcasted_at IS NOT NULL)),
    CHECK ((tx_hash IS NULL) = (broadcasted_at IS NULL)),
    CHECK ((status = 'CONFIRMED') = (confirmed_at IS NOT NULL)),
    CHECK ((status = 'FAILED') = (failure_reason IS NOT NULL))
);

-- GET /v1/withdrawals of one user, newest first.
CREATE INDEX withdrawals_of_user ON withdrawals (user_id, id);

-- Open payments and what they may still cost: few rows, however many are finished.
CREATE INDEX withdrawals_open ON withdrawals (id) WHERE status IN ('REQUESTED', 'BROADCASTED');

-- The steps that a withdrawal took. REQUESTED has no row: `requested_at` tells it, and accepting
-- is one insert less.
CREATE TABLE withdrawal_transitions (
    id            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id uuid        NOT NULL REFERENCES withdrawals (id),
    from_status   text        NOT NULL CHECK (from_status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    to_status     text        NOT NULL CHECK (to_status IN ('REQUESTED', 'BROADCASTED', 'CONFIRMED', 'FAILED')),
    tx_hash       text,
    reason        text,
    evidence      json,
    created_at    timestamptz NOT NULL
);

-- The timeline of one withdrawal.
CREATE INDEX withdrawal_transitions_of ON withdrawal_transitions (withdrawal_id, id);

-- The outbox, and a public contract: whoever shares the database inserts (aggregate_type,
-- aggregate_id, event_type, payload) in a transaction of its own; everything else has a default.
CREATE TABLE outbox_events (
    id                 uuid                NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    -- The order written, whatever the clocks say: what ordered routes follow.
    position           bigint              NOT NULL GENERATED ALWAYS AS IDENTITY,
    aggregate_type     outbox_name         NOT NULL,
    aggregate_id       outbox_aggregate_id NOT NULL,
    event_type         outbox_name         NOT NULL,
    -- `json`, not `jsonb`: it is checked once and handed on as it came; nothing looks inside.
    payload            json                NOT NULL,
    idempotency_key    uuid                NOT NULL DEFAULT gen_random_uuid(),
    status             text                NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'PROCESSING', 'RETRYING', 'DONE', 'FAILED')),
    attempt_count      integer             NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    interruption_count integer             NOT NULL DEFAULT 0 CHECK (interruption_count >= 0),
    deferral_count     integer             NOT NULL DEFAULT 0 CHECK (deferral_count >= 0),
    outcome_unknown    boolean             NOT NULL DEFAULT false,
    next_retry_at      timestamptz,
    -- What went wrong last; kept when the event is DONE.
    last_error         text,
    failure_code       text                CHECK (failure_code IN
        ('rejected', 'attempts exhausted', 'deferrals exhausted', 'poison', 'expired', 'malformed')),
    detail             text,
    locked_by          text,
    locked_until       timestamptz,
    -- Grows with each claim and is never reset: who settles with an older one settles nothing.
    lease_token        bigint              NOT NULL DEFAULT 0,
    release_digest     text,
    available_at       timestamptz         NOT NULL DEFAULT now(),
    valid_until        timestamptz,
    traceparent        outbox_traceparent,
    created_at         timestamptz         NOT NULL DEFAULT now(),
    updated_at         timestamptz         NOT NULL DEFAULT now(),
    CHECK ((status = 'PROCESSING') = (locked_by IS NOT NULL)),
    CHECK ((status = 'PROCESSING') = (locked_until IS NOT NULL)),
    CHECK ((status = 'RETRYING') = (next_retry_at IS NOT NULL)),
    CHECK ((status = 'FAILED') = (failure_code IS NOT NULL))
) WITH (
    -- Room for the versions that prolonged leases leave on the same page.
    fillfactor = 90,
    -- An event leaves two dead versions behind, and claims walk the dead entries of the index of
    -- what is pending. The default waits for a fifth of the table, which is hours once millions of
    -- rows are finished; here a fixed number decides, and vacuum does not pause.
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    -- Plans do not hang on fresh statistics, for each claim's order is given by one index only.
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

-- One key is one event. A uuid, for a text key costs a third of the speed.
CREATE UNIQUE INDEX outbox_events_key ON outbox_events (idempotency_key);

-- Claim: the oldest due events of one type. The order is one that no other index gives, so no
-- plan can walk the finished rows.
CREATE INDEX outbox_events_pending ON outbox_events (event_type, available_at, id) WHERE status = 'PENDING';

-- Settle, extend, and leases that ran out. On `id` and not on what is asked for, for an index
-- whose keys repeat costs half the speed; the few rows in hand are read and filtered.
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

-- The timeline: the other events of an aggregate. Together both hold each row once, so they cost
-- what one index over all would.
CREATE INDEX outbox_events_done_of ON outbox_events (aggregate_id, position) WHERE status = 'DONE';

-- Wakes the dispatchers, once a statement however many rows it writes. Equal notifications of one
-- transaction are one. Transactions that notify commit one after another, which costs all who write
-- at the same time their shared commit: who announces its rows itself, afterwards, says so by a
-- setting of its transaction.
CREATE FUNCTION outbox_events_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tidegate_outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_events_wake AFTER INSERT ON outbox_events
    FOR EACH STATEMENT
    WHEN (current_setting('tidegate.announced_later', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION outbox_events_wake();

-- What happened to an event besides DONE: attempts that ended otherwise, and what operators did.
CREATE TABLE outbox_attempts (
    id             bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       uuid        NOT NULL,
    kind           text        NOT NULL CHECK (kind IN
        ('retry', 'unknown', 'defer', 'interrupted', 'lease lost', 'failed', 'replayed')),
    attempt        bigint      NOT NULL CHECK (attempt BETWEEN 0 AND 4294967295),
    reason         text        NOT NULL,
    plugin         text,
    release_digest text,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL
);

-- The history of one event.
CREATE INDEX outbox_attempts_of ON outbox_attempts (event_id, id);

-- What was answered for an Idempotency-Key, written with what it caused.
CREATE TABLE idempotency_keys (
    scope           text        NOT NULL,
    key             text        NOT NULL,
    fingerprint     text        NOT NULL,
    answer_status   integer     NOT NULL CHECK (answer_status BETWEEN 100 AND 599),
    answer_location text        NOT NULL,
    answer_body     text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);

-- What a handler keeps from one attempt to the next.
CREATE TABLE checkpoints (
    event_id   uuid        NOT NULL PRIMARY KEY,
    bytes      bytea       NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Accounts that pay. `next_nonce` only grows.
CREATE TABLE chain_accounts (
    chain_id      bigint      NOT NULL CHECK (chain_id >= 0),
    address       text        NOT NULL CHECK (address LIKE '0x%' AND address = lower(address)),
    next_nonce    bigint      NOT NULL CHECK (next_nonce >= 0),
    frozen_reason text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, address)
);

-- The one nonce of a withdrawal, for ever: what makes paying twice impossible.
CREATE TABLE withdrawal_nonces (
    withdrawal_id uuid        NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    chain_id      bigint      NOT NULL,
    account       text        NOT NULL,
    nonce         bigint      NOT NULL CHECK (nonce >= 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- No nonce pays for two withdrawals.
    UNIQUE (chain_id, account, nonce),
    -- What signed_transactions points to.
    UNIQUE (withdrawal_id, chain_id, account, nonce),
    FOREIGN KEY (chain_id, account) REFERENCES chain_accounts (chain_id, address)
);

-- Every byte that was ever signed, stored before any node could see it. The foreign key says
-- that all of a withdrawal's have its one nonce.
CREATE TABLE signed_transactions (
    id                       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id            uuid        NOT NULL,
    chain_id                 bigint      NOT NULL,
    account                  text        NOT NULL,
    nonce                    bigint      NOT NULL,
    hash                     text        NOT NULL UNIQUE CHECK (hash LIKE '0x%' AND hash = lower(hash)),
    kind                     text        NOT NULL CHECK (kind IN ('PAYMENT', 'CLOSING')),
    raw                      bytea       NOT NULL,
    gas_limit                bigint      NOT NULL CHECK (gas_limit >= 0),
    fee_max_per_gas          numeric     NOT NULL CHECK (fee_max_per_gas >= 0 AND scale(fee_max_per_gas) = 0),
    priority_fee_max_per_gas numeric     NOT NULL CHECK (priority_fee_max_per_gas >= 0 AND scale(priority_fee_max_per_gas) = 0),
    native_cost_max          numeric     NOT NULL CHECK (native_cost_max >= 0 AND scale(native_cost_max) = 0),
    asset_units              numeric     NOT NULL CHECK (asset_units >= 0 AND scale(asset_units) = 0),
    signed_at                timestamptz NOT NULL,
    FOREIGN KEY (withdrawal_id, chain_id, account, nonce)
        REFERENCES withdrawal_nonces (withdrawal_id, chain_id, account, nonce)
);

-- What was signed for a withdrawal, in order.
CREATE INDEX signed_transactions_of ON signed_transactions (withdrawal_id, id);

-- The fees of an account's last 24 hours.
CREATE INDEX signed_transactions_of_account ON signed_transactions (chain_id, account, signed_at);

CREATE FUNCTION refuse_to_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER withdrawal_nonces_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON withdrawal_nonces
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change();
CREATE TRIGGER signed_transactions_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change();
