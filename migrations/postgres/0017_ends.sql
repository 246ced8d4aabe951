-- Why: payments that are given up, payments that are watched after their end, and what became of
-- accounts.
-- What the previous binary sees meanwhile: nothing. It does not look at these tables: a payment that
-- is given up is sent on there, and what it ends is not watched.

-- Payments that are given up after something was signed for them: a transaction at the same nonce
-- that pays nobody competes with them, and the chain decides.
CREATE TABLE withdrawal_closings (
    withdrawal_id uuid        NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    reason        text        NOT NULL,
    -- Who asked for it.
    asked_by      text        NOT NULL,
    asked_at      timestamptz NOT NULL
);

-- Ends that the chain gave evidence for, and may still take back. A row goes when the watch is over.
CREATE TABLE payment_watches (
    withdrawal_id uuid        NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    chain_id      bigint      NOT NULL CHECK (chain_id >= 0),
    tx_hash       text        NOT NULL,
    block_number  bigint      NOT NULL CHECK (block_number >= 0),
    block_hash    text        NOT NULL,
    -- When the chain is final up to this block, the watch is over.
    until_block   bigint      NOT NULL CHECK (until_block >= block_number),
    since         timestamptz NOT NULL
);

-- The watches of one chain: few rows, however many payments were made.
CREATE INDEX payment_watches_of ON payment_watches (chain_id, withdrawal_id);

-- What hosts and operators said about accounts.
CREATE TABLE account_changes (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id   bigint      NOT NULL,
    address    text        NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('frozen', 'unfrozen')),
    reason     text        NOT NULL,
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL,
    FOREIGN KEY (chain_id, address) REFERENCES chain_accounts (chain_id, address)
);

-- The history of one account.
CREATE INDEX account_changes_of ON account_changes (chain_id, address, id);
