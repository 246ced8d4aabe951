-- Why: policies before signing: who asked for a withdrawal, who approved it, what was frozen, what was
-- decided, and what a withdrawal waits for.
-- What the previous binary sees meanwhile: the same tables, and a column that it leaves empty. It looks
-- at no policy, so it signs what this one would hold: configure policies once it is gone.

-- The caller that handed it in. Empty: a binary before this one took it.
ALTER TABLE withdrawals ADD COLUMN requested_by TEXT;

-- What the policies said, whenever that changed. Append-only.
CREATE TABLE policy_decisions (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    withdrawal_id  TEXT    NOT NULL REFERENCES withdrawals (id),
    -- SHA-256 of the rules.
    policy_version TEXT    NOT NULL,
    -- The account that would pay.
    account        TEXT    NOT NULL,
    outcome        TEXT    NOT NULL CHECK (outcome IN ('ALLOW', 'WAIT', 'DENY')),
    rule           TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    -- The numbers that decided.
    figures        TEXT    NOT NULL CHECK (json_valid(figures)),
    decided_at     INTEGER NOT NULL
) STRICT;

-- The decisions on one withdrawal.
CREATE INDEX policy_decisions_of ON policy_decisions (withdrawal_id, id);

-- Who approved what: exactly this payment, under exactly these rules. Append-only.
CREATE TABLE withdrawal_approvals (
    id                  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    withdrawal_id       TEXT    NOT NULL REFERENCES withdrawals (id),
    approver            TEXT    NOT NULL,
    policy_version      TEXT    NOT NULL,
    asset               TEXT    NOT NULL,
    network             TEXT    NOT NULL,
    amount              TEXT    NOT NULL,
    destination_address TEXT    NOT NULL,
    reason              TEXT    NOT NULL,
    approved_at         INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL
) STRICT;

-- The approvals of one withdrawal.
CREATE INDEX withdrawal_approvals_of ON withdrawal_approvals (withdrawal_id, id);

-- What the external service answered. Append-only.
CREATE TABLE policy_answers (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    withdrawal_id  TEXT    NOT NULL REFERENCES withdrawals (id),
    policy_version TEXT    NOT NULL,
    -- SHA-256 of what it was asked about.
    facts          TEXT    NOT NULL,
    verdict        TEXT    NOT NULL CHECK (verdict IN ('ALLOW', 'DENY')),
    reason         TEXT    NOT NULL,
    answered_at    INTEGER NOT NULL
) STRICT;

-- The answers about one withdrawal.
CREATE INDEX policy_answers_of ON policy_answers (withdrawal_id, id);

-- What is held from signing, and what was. Lifting is the only change.
CREATE TABLE freezes (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    scope       TEXT    NOT NULL CHECK (scope IN ('all', 'user', 'asset', 'withdrawal')),
    -- The user, the asset, or the withdrawal; empty for all.
    subject     TEXT    NOT NULL,
    -- Of an asset; empty: on each network.
    network     TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    frozen_by   TEXT    NOT NULL,
    frozen_at   INTEGER NOT NULL,
    lifted_by   TEXT,
    lift_reason TEXT,
    lifted_at   INTEGER,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (lift_reason IS NULL))
) STRICT;

-- What is frozen, each thing once: looked at before each signature.
CREATE UNIQUE INDEX freezes_now ON freezes (scope, subject, network) WHERE lifted_at IS NULL;

-- What a withdrawal waits for. A row goes when something is signed, or the withdrawal ends.
CREATE TABLE withdrawal_waits (
    withdrawal_id TEXT    NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    rule          TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    -- Since when it waits for this rule.
    since         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER policy_decisions_are_never_changed BEFORE UPDATE ON policy_decisions
BEGIN SELECT RAISE(ABORT, 'policy_decisions is append-only'); END;
CREATE TRIGGER policy_decisions_are_never_deleted BEFORE DELETE ON policy_decisions
BEGIN SELECT RAISE(ABORT, 'policy_decisions is append-only'); END;
CREATE TRIGGER withdrawal_approvals_are_never_changed BEFORE UPDATE ON withdrawal_approvals
BEGIN SELECT RAISE(ABORT, 'withdrawal_approvals is append-only'); END;
CREATE TRIGGER withdrawal_approvals_are_never_deleted BEFORE DELETE ON withdrawal_approvals
BEGIN SELECT RAISE(ABORT, 'withdrawal_approvals is append-only'); END;
CREATE TRIGGER policy_answers_are_never_changed BEFORE UPDATE ON policy_answers
BEGIN SELECT RAISE(ABORT, 'policy_answers is append-only'); END;
CREATE TRIGGER policy_answers_are_never_deleted BEFORE DELETE ON policy_answers
BEGIN SELECT RAISE(ABORT, 'policy_answers is append-only'); END;
