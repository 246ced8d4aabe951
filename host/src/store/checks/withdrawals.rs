//! Withdrawals: each status has its evidence, was reached by legal steps, and was told to others.

use super::{Check, Needs, Sql};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "withdrawal-columns",
        sentence: "A withdrawal has the columns of its status, and those of no other",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(w.id AS text), 'is ' || w.status || ' with the columns of another status' \
             FROM withdrawals AS w WHERE w.id > {from} AND w.id <= {to} AND NOT CASE w.status \
             WHEN 'REQUESTED' THEN w.tx_hash IS NULL AND w.broadcasted_at IS NULL \
             AND w.confirmed_at IS NULL AND w.failure_reason IS NULL \
             WHEN 'BROADCASTED' THEN w.tx_hash IS NOT NULL AND w.broadcasted_at IS NOT NULL \
             AND w.confirmed_at IS NULL AND w.failure_reason IS NULL \
             WHEN 'CONFIRMED' THEN w.tx_hash IS NOT NULL AND w.broadcasted_at IS NOT NULL \
             AND w.confirmed_at IS NOT NULL AND w.failure_reason IS NULL \
             WHEN 'FAILED' THEN w.confirmed_at IS NULL \
             AND (w.tx_hash IS NULL) = (w.broadcasted_at IS NULL) ELSE 1 = 0 END",
        ),
    },
    Check {
        name: "withdrawal-hash-is-signed",
        sentence: "The hash of a withdrawal is of a transaction that was signed for it",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(w.id AS text), 'is ' || w.status || ', and nothing of the hash ' || \
             coalesce(w.tx_hash, '-') || ' was signed for it' FROM withdrawals AS w \
             WHERE w.id > {from} AND w.id <= {to} \
             AND (w.tx_hash IS NOT NULL OR w.status IN ('BROADCASTED', 'CONFIRMED')) \
             AND NOT EXISTS (SELECT 1 FROM signed_transactions AS s \
             WHERE s.withdrawal_id = w.id AND s.hash = w.tx_hash)",
        ),
    },
    Check {
        name: "withdrawal-confirmed-has-evidence",
        sentence: "Every CONFIRMED withdrawal has the evidence of the chain",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(w.id AS text), 'is CONFIRMED without evidence' FROM withdrawals AS w \
             WHERE w.id > {from} AND w.id <= {to} AND w.status = 'CONFIRMED' \
             AND NOT EXISTS (SELECT 1 FROM withdrawal_transitions AS t \
             WHERE t.withdrawal_id = w.id AND t.to_status = 'CONFIRMED' \
             AND t.evidence IS NOT NULL AND t.tx_hash = w.tx_hash)",
        ),
    },
    Check {
        name: "withdrawal-failed-has-reason",
        sentence: "Every FAILED withdrawal has a reason, and if something was signed, evidence",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(w.id AS text), CASE WHEN coalesce(w.failure_reason, '') = '' \
             THEN 'is FAILED without a reason' \
             ELSE 'is FAILED without evidence, though a transaction was signed for it' END \
             FROM withdrawals AS w WHERE w.id > {from} AND w.id <= {to} AND w.status = 'FAILED' \
             AND (coalesce(w.failure_reason, '') = '' \
             OR (EXISTS (SELECT 1 FROM signed_transactions AS s WHERE s.withdrawal_id = w.id) \
             AND NOT EXISTS (SELECT 1 FROM withdrawal_transitions AS t \
             WHERE t.withdrawal_id = w.id AND t.to_status = 'FAILED' AND t.evidence IS NOT NULL)))",
        ),
    },
    Check {
        name: "withdrawal-steps-are-legal",
        sentence: "A withdrawal's steps are a chain from REQUESTED to its status, each one allowed",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "WITH steps AS (SELECT t.withdrawal_id, t.from_status, t.to_status, \
             lag(t.to_status, 1, 'REQUESTED') OVER (PARTITION BY t.withdrawal_id ORDER BY t.id) \
             AS before FROM withdrawal_transitions AS t \
             WHERE t.withdrawal_id > {from} AND t.withdrawal_id <= {to}), \
             ends AS (SELECT w.id, w.status, coalesce((SELECT t.to_status \
             FROM withdrawal_transitions AS t WHERE t.withdrawal_id = w.id \
             ORDER BY t.id DESC LIMIT 1), 'REQUESTED') AS last \
             FROM withdrawals AS w WHERE w.id > {from} AND w.id <= {to}), \
             wrong AS (SELECT s.withdrawal_id AS id, 'went from ' || s.from_status || ' to ' || \
             s.to_status || ' when it was ' || s.before AS what FROM steps AS s \
             WHERE s.from_status <> s.before OR s.from_status || ' ' || s.to_status NOT IN \
             ('REQUESTED BROADCASTED', 'REQUESTED FAILED', 'BROADCASTED BROADCASTED', \
             'BROADCASTED CONFIRMED', 'BROADCASTED FAILED', 'CONFIRMED BROADCASTED') \
             UNION ALL SELECT id, 'is ' || status || ', and its last step led to ' || last \
             FROM ends WHERE status <> last) \
             SELECT CAST(id AS text), what FROM wrong",
        ),
    },
    Check {
        name: "withdrawal-open-has-broadcast",
        sentence: "Every withdrawal that is not final has the event that pays it",
        needs: Needs::Nothing,
        // Events of a reopened one may have been deleted while it was final.
        sql: Sql::Both(
            "SELECT CAST(w.id AS text), 'is ' || w.status || \
             ' and has no event BLOCKCHAIN_BROADCAST_REQUESTED' FROM withdrawals AS w \
             WHERE w.id > {from} AND w.id <= {to} AND w.status IN ('REQUESTED', 'BROADCASTED') \
             AND NOT EXISTS (SELECT 1 FROM outbox_events AS e \
             WHERE e.aggregate_id = CAST(w.id AS text) AND e.status <> 'DONE' AND e.done_at IS NULL \
             AND e.aggregate_type = 'WITHDRAWAL' \
             AND e.event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED') \
             AND NOT EXISTS (SELECT 1 FROM outbox_events AS e \
             WHERE e.aggregate_id = CAST(w.id AS text) AND e.status = 'DONE' AND e.done_at IS NOT NULL \
             AND e.aggregate_type = 'WITHDRAWAL' \
             AND e.event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED') \
             AND NOT EXISTS (SELECT 1 FROM withdrawal_transitions AS t \
             WHERE t.withdrawal_id = w.id AND t.from_status = 'CONFIRMED')",
        ),
    },
    Check {
        name: "withdrawal-steps-wrote-events",
        sentence: "Every step of a withdrawal wrote the events of [flow], but for what was deleted",
        needs: Needs::Flow,
        // What a withdrawal that is not final wrote is never deleted; of the others, what was
        // written since may not be.
        sql: Sql::Both(
            "WITH flow (status, event_type) AS (VALUES {flow}), entered AS (\
             SELECT w.id, 'REQUESTED' AS status, w.requested_at AS at, w.status AS now_is \
             FROM withdrawals AS w WHERE w.id > {from} AND w.id <= {to} UNION ALL \
             SELECT t.withdrawal_id, t.to_status, t.created_at, w.status \
             FROM withdrawal_transitions AS t JOIN withdrawals AS w ON w.id = t.withdrawal_id \
             WHERE t.withdrawal_id > {from} AND t.withdrawal_id <= {to} \
             AND t.from_status <> t.to_status), \
             wanted AS (SELECT entered.id, flow.event_type, count(*) AS n FROM entered \
             JOIN flow ON flow.status = entered.status WHERE entered.at > {kept_since} \
             OR (entered.now_is IN ('REQUESTED', 'BROADCASTED') AND NOT EXISTS \
             (SELECT 1 FROM withdrawal_transitions AS t \
             WHERE t.withdrawal_id = entered.id AND t.from_status = 'CONFIRMED')) \
             GROUP BY entered.id, flow.event_type), \
             counted AS (SELECT wanted.id, wanted.event_type, wanted.n, \
             (SELECT count(*) FROM outbox_events AS e \
             WHERE e.aggregate_id = CAST(wanted.id AS text) AND e.status <> 'DONE' AND e.done_at IS NULL \
             AND e.aggregate_type = 'WITHDRAWAL' AND e.event_type = wanted.event_type) \
             + (SELECT count(*) FROM outbox_events AS e \
             WHERE e.aggregate_id = CAST(wanted.id AS text) AND e.status = 'DONE' AND e.done_at IS NOT NULL \
             AND e.aggregate_type = 'WITHDRAWAL' AND e.event_type = wanted.event_type) AS found \
             FROM wanted) \
             SELECT CAST(id AS text), 'has ' || CAST(found AS text) || ' of ' || \
             CAST(n AS text) || ' events ' || event_type FROM counted WHERE found < n",
        ),
    },
];
