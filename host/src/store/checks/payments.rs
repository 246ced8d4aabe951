//! Payments: one nonce a withdrawal, and everything that was signed is whole.

use super::{Check, Needs, Sql};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "payment-one-nonce",
        sentence: "All that was signed for a withdrawal has its one account and nonce",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(s.withdrawal_id AS text), 'signed ' || s.hash || ' with nonce ' || \
             CAST(s.nonce AS text) || ' of ' || s.account || '; its nonce is ' || \
             coalesce(CAST(n.nonce AS text) || ' of ' || n.account, 'none') \
             FROM signed_transactions AS s \
             LEFT JOIN withdrawal_nonces AS n ON n.withdrawal_id = s.withdrawal_id \
             WHERE s.withdrawal_id > {from} AND s.withdrawal_id <= {to} \
             AND (n.withdrawal_id IS NULL OR n.nonce <> s.nonce OR n.account <> s.account \
             OR n.chain_id <> s.chain_id)",
        ),
    },
    Check {
        name: "payment-nonce-was-allotted",
        sentence: "Every nonce in use is below the account's next one",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(n.withdrawal_id AS text), 'has nonce ' || CAST(n.nonce AS text) || \
             '; the next one of ' || n.account || ' is ' || \
             coalesce(CAST(a.next_nonce AS text), 'unknown') FROM withdrawal_nonces AS n \
             LEFT JOIN chain_accounts AS a ON a.chain_id = n.chain_id AND a.address = n.account \
             WHERE n.withdrawal_id > {from} AND n.withdrawal_id <= {to} \
             AND (a.address IS NULL OR n.nonce < 0 OR n.nonce >= a.next_nonce)",
        ),
    },
    Check {
        name: "payment-was-not-denied",
        sentence: "Nothing was signed for a withdrawal that the policies denied for ever",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(n.withdrawal_id AS text), 'was denied by ' || d.rule || \
             ', and has a nonce' FROM withdrawal_nonces AS n \
             JOIN policy_decisions AS d ON d.withdrawal_id = n.withdrawal_id \
             WHERE n.withdrawal_id > {from} AND n.withdrawal_id <= {to} AND d.outcome = 'DENY' \
             AND NOT EXISTS (SELECT 1 FROM policy_decisions AS later \
             WHERE later.withdrawal_id = n.withdrawal_id AND later.outcome = 'ALLOW' \
             AND later.id > d.id)",
        ),
    },
    Check {
        name: "closing-was-asked-for",
        sentence: "Nothing is closed that was not given up",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(s.withdrawal_id AS text), 'signed ' || s.hash || ' to close its nonce, \
             and nobody asked for it' FROM signed_transactions AS s \
             LEFT JOIN withdrawal_closings AS c ON c.withdrawal_id = s.withdrawal_id \
             WHERE s.withdrawal_id > {from} AND s.withdrawal_id <= {to} \
             AND s.kind = 'CLOSING' AND c.withdrawal_id IS NULL",
        ),
    },
    Check {
        name: "watch-of-an-end",
        sentence: "Only what has ended is watched",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(p.withdrawal_id AS text), 'is watched, and is ' || w.status \
             FROM payment_watches AS p JOIN withdrawals AS w ON w.id = p.withdrawal_id \
             WHERE p.withdrawal_id > {from} AND p.withdrawal_id <= {to} \
             AND w.status NOT IN ('CONFIRMED', 'FAILED')",
        ),
    },
    Check {
        name: "payment-is-whole",
        sentence: "Every signed transaction has its bytes, a kind, and no negative number",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(s.withdrawal_id AS text), 'signed ' || s.hash || ', which is not whole' \
             FROM signed_transactions AS s \
             WHERE s.withdrawal_id > {from} AND s.withdrawal_id <= {to} \
             AND (length(s.raw) = 0 OR s.kind NOT IN ('PAYMENT', 'CLOSING') OR s.gas_limit < 0 \
             OR s.hash NOT LIKE '0x%' OR CAST(s.fee_max_per_gas AS text) LIKE '-%' \
             OR CAST(s.native_cost_max AS text) LIKE '-%')",
        ),
    },
];
