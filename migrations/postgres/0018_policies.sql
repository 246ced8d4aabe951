-- Why: policies before signing: who asked for a withdrawal, who approved it, what was frozen, what was
-- decided, and what a withdrawal waits for.
-- What the previous binary sees meanwhile: the same tables, and a column that it leaves empty. It looks
-- at no policy, so it signs what this one would hold: configure policies once it is gone.

-- The caller that handed it in. Empty: a binary before this one took it.
ALTER TABLE withdrawals ADD COLUMN requested_by text;

-- What the policies said, whenever that changed. Append-only.
CREATE TABLE policy_decisions (
    id             bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id  uuid        NOT NULL REFERENCES withdrawals (id),
    -- SHA-256 of the rules.
    policy_version text        NOT NULL,
    -- The account that would pay.
    account        text        NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('ALLOW', 'WAIT', 'DENY')),
    rule           text        NOT NULL,
    reason         text        NOT NULL,
    -- The numbers that decided.
    figures        json        NOT NULL,
    decided_at     timestamptz NOT NULL
);

-- The decisions on one withdrawal.
CREATE INDEX policy_decisions_of ON policy_decisions (withdrawal_id, id);

-- Who approved what: exactly this payment, under exactly these rules. Append-only.
CREATE TABLE withdrawal_approvals (
    id                  bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id       uuid        NOT NULL REFERENCES withdrawals (id),
    approver            text        NOT NULL,
    policy_version      text        NOT NULL,
    asset               text        NOT NULL,
    network             text        NOT NULL,
    amount              numeric     NOT NULL,
    destination_address text        NOT NULL,
    reason              text        NOT NULL,
    approved_at         timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL
);

-- The approvals of one withdrawal.
CREATE INDEX withdrawal_approvals_of ON withdrawal_approvals (withdrawal_id, id);

-- What the external service answered. Append-only.
CREATE TABLE policy_answers (
    id             bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id  uuid        NOT NULL REFERENCES withdrawals (id),
    policy_version text        NOT NULL,
    -- SHA-256 of what it was asked about.
    facts          text        NOT NULL,
    verdict        text        NOT NULL CHECK (verdict IN ('ALLOW', 'DENY')),
    reason         text        NOT NULL,
    answered_at    timestamptz NOT NULL
);

-- The answers about one withdrawal.
CREATE INDEX policy_answers_of ON policy_answers (withdrawal_id, id);

-- What is held from signing, and what was. Lifting is the only change.
CREATE TABLE freezes (
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text        NOT NULL CHECK (scope IN ('all', 'user', 'asset', 'withdrawal')),
    -- The user, the asset, or the withdrawal; empty for all.
    subject     text        NOT NULL,
    -- Of an asset; empty: on each network.
    network     text        NOT NULL,
    reason      text        NOT NULL,
    frozen_by   text        NOT NULL,
    frozen_at   timestamptz NOT NULL,
    lifted_by   text,
    lift_reason text,
    lifted_at   timestamptz,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (lift_reason IS NULL))
);

-- What is frozen, each thing once: looked at before each signature.
CREATE UNIQUE INDEX freezes_now ON freezes (scope, subject, network) WHERE lifted_at IS NULL;

-- What a withdrawal waits for. A row goes when something is signed, or the withdrawal ends.
CREATE TABLE withdrawal_waits (
    withdrawal_id uuid        NOT NULL PRIMARY KEY REFERENCES withdrawals (id),
    rule          text        NOT NULL,
    reason        text        NOT NULL,
    -- Since when it waits for this rule.
    since         timestamptz NOT NULL
);

CREATE TRIGGER policy_decisions_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change();
CREATE TRIGGER withdrawal_approvals_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON withdrawal_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change();
CREATE TRIGGER policy_answers_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_answers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change();
