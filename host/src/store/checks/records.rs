//! What belongs to something: history, checkpoints, answers; and keys that are used once.

use super::{Check, Needs, Sql};

pub(super) const HISTORY: &[Check] = &[Check {
    name: "history-has-its-event",
    sentence: "Every line of history belongs to an event that is there: none was lost",
    needs: Needs::Nothing,
    sql: Sql::Both(
        "SELECT CAST(a.event_id AS text), 'has a history, and is not there' \
         FROM outbox_attempts AS a \
         WHERE a.id > CAST($1 AS bigint) AND a.id <= CAST($2 AS bigint) \
         AND NOT EXISTS (SELECT 1 FROM outbox_events AS e WHERE e.id = a.event_id)",
    ),
}];

/// Their names begin with the table: see [`super::table_of`].
pub(super) const WHOLES: &[Check] = &[
    Check {
        name: "event-key-used-once",
        sentence: "No two events have one idempotency key",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(e.idempotency_key AS text), 'is the key of ' || CAST(count(*) AS text) || \
             ' events' FROM outbox_events AS e GROUP BY e.idempotency_key HAVING count(*) > 1",
        ),
    },
    Check {
        name: "event-id-used-once",
        sentence: "No two events have one id",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(e.id AS text), 'is the id of ' || CAST(count(*) AS text) || ' events' \
             FROM outbox_events AS e GROUP BY e.id HAVING count(*) > 1",
        ),
    },
    Check {
        name: "key-answer-is-kept",
        sentence: "Every withdrawal that was answered to an Idempotency-Key is there",
        needs: Needs::Nothing,
        sql: Sql::Each {
            postgres: "SELECT k.scope || ' ' || k.key, 'was answered ' || k.answer_location || \
                 ', which is not there' FROM idempotency_keys AS k \
                 WHERE k.answer_status = 201 AND k.answer_location LIKE '/v1/withdrawals/%' \
                 AND NOT EXISTS (SELECT 1 FROM withdrawals AS w WHERE w.id = \
                 CASE WHEN substr(k.answer_location, 17) \
                 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' \
                 THEN CAST(substr(k.answer_location, 17) AS uuid) END)",
            sqlite: "SELECT k.scope || ' ' || k.key, 'was answered ' || k.answer_location || \
                 ', which is not there' FROM idempotency_keys AS k \
                 WHERE k.answer_status = 201 AND k.answer_location LIKE '/v1/withdrawals/%' \
                 AND NOT EXISTS (SELECT 1 FROM withdrawals AS w \
                 WHERE w.id = substr(k.answer_location, 17))",
        },
    },
    Check {
        name: "key-used-once",
        sentence: "No withdrawal was answered to two Idempotency-Keys, and no key twice",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT k.answer_location, 'was answered to ' || CAST(count(*) AS text) || ' keys' \
             FROM idempotency_keys AS k WHERE k.answer_location LIKE '/v1/withdrawals/%' \
             GROUP BY k.answer_location HAVING count(*) > 1 UNION ALL \
             SELECT k.scope || ' ' || k.key, 'is there ' || CAST(count(*) AS text) || ' times' \
             FROM idempotency_keys AS k GROUP BY k.scope, k.key HAVING count(*) > 1",
        ),
    },
    Check {
        name: "nonce-used-once",
        sentence: "No nonce of an account pays for two withdrawals",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT n.account || ' ' || CAST(n.nonce AS text), 'on chain ' || \
             CAST(n.chain_id AS text) || ' is the nonce of ' || CAST(count(*) AS text) || \
             ' withdrawals' FROM withdrawal_nonces AS n \
             GROUP BY n.chain_id, n.account, n.nonce HAVING count(*) > 1",
        ),
    },
    Check {
        name: "transaction-nonce-of-one-withdrawal",
        sentence: "No nonce of an account was signed for two withdrawals",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT s.account || ' ' || CAST(s.nonce AS text), 'on chain ' || \
             CAST(s.chain_id AS text) || ' was signed for ' || \
             CAST(count(DISTINCT s.withdrawal_id) AS text) || ' withdrawals' \
             FROM signed_transactions AS s \
             GROUP BY s.chain_id, s.account, s.nonce HAVING count(DISTINCT s.withdrawal_id) > 1",
        ),
    },
    Check {
        name: "transaction-hash-is-once",
        sentence: "No transaction was stored twice",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT s.hash, 'is there ' || CAST(count(*) AS text) || ' times' \
             FROM signed_transactions AS s GROUP BY s.hash HAVING count(*) > 1",
        ),
    },
    Check {
        name: "checkpoint-has-its-event",
        sentence: "Every checkpoint belongs to an event that is there",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(c.event_id AS text), 'has a checkpoint, and is not there' \
             FROM checkpoints AS c \
             WHERE NOT EXISTS (SELECT 1 FROM outbox_events AS e WHERE e.id = c.event_id)",
        ),
    },
    Check {
        name: "release-has-its-component",
        sentence: "Every release of a plugin has its component, and its plugin",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT r.plugin || ' #' || CAST(r.number AS text), 'has no component, or no plugin' \
             FROM plugin_releases AS r \
             WHERE NOT EXISTS (SELECT 1 FROM component_artifacts AS c WHERE c.digest = r.digest) \
             OR NOT EXISTS (SELECT 1 FROM plugins AS p WHERE p.plugin = r.plugin)",
        ),
    },
    Check {
        name: "release-live-once",
        sentence: "A plugin has at most one live release, and at most one candidate",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT r.plugin, 'has ' || CAST(count(*) AS text) || ' live releases' \
             FROM plugin_releases AS r WHERE r.state = 'LIVE' \
             GROUP BY r.plugin HAVING count(*) > 1 UNION ALL \
             SELECT r.plugin, 'has ' || CAST(count(*) AS text) || ' candidates' \
             FROM plugin_releases AS r \
             WHERE r.state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW') \
             GROUP BY r.plugin HAVING count(*) > 1",
        ),
    },
];
