-- Why: payments that are given up, payments that are watched after their end, and what became of
-- accounts.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- Payments that are given up after something was signed for them: a transaction at the same nonce
-- that pays nobody competes with them, and the chain decides.
CREATE TABLE withdrawal_closings (
    withdrawal_id TEXT    NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    reason        TEXT    NOT NULL,
    -- Who asked for it.
    asked_by      TEXT    NOT NULL,
    asked_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ends that the chain gave evidence for, and may still take back. A row goes when the watch is over.
CREATE TABLE payment_watches (
    withdrawal_id TEXT    NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    chain_id      INTEGER NOT NULL CHECK (chain_id >= 0),
    tx_hash       TEXT    NOT NULL,
    block_number  INTEGER NOT NULL CHECK (block_number >= 0),
    block_hash    TEXT    NOT NULL,
    -- When the chain is final up to this block, the watch is over.
    until_block   INTEGER NOT NULL CHECK (until_block >= block_number),
    since         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The watches of one chain: few rows, however many payments were made.
CREATE INDEX payment_watches_of ON payment_watches (chain_id, withdrawal_id);

-- What hosts and operators said about accounts.
CREATE TABLE account_changes (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    chain_id   INTEGER NOT NULL,
    address    TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('frozen', 'unfrozen')),
    reason     TEXT    NOT NULL,
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    FOREIGN KEY (chain_id, address) REFERENCES chain_accounts (chain_id, address)
) STRICT;

-- The history of one account.
CREATE INDEX account_changes_of ON account_changes (chain_id, address, id);
