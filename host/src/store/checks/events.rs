//! Events: settled once and in order, with a reason where they failed, and held by living hosts.

use super::{Check, Needs, Sql};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "event-columns",
        sentence: "An event has the columns of its status, and no counter is negative",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(e.id AS text), CASE WHEN e.attempt_count < 0 OR e.interruption_count < 0 \
             OR e.deferral_count < 0 OR e.lease_token < 0 THEN 'has a negative counter' \
             ELSE 'is ' || e.status || ' with the columns of another status' END \
             FROM outbox_events AS e WHERE e.id > {from} AND e.id <= {to} \
             AND (e.attempt_count < 0 OR e.interruption_count < 0 OR e.deferral_count < 0 \
             OR e.lease_token < 0 \
             OR e.status NOT IN ('PENDING', 'PROCESSING', 'RETRYING', 'DONE', 'FAILED') \
             OR (e.status = 'PROCESSING') <> (e.locked_by IS NOT NULL) \
             OR (e.status = 'PROCESSING') <> (e.locked_until IS NOT NULL) \
             OR (e.status = 'RETRYING') <> (e.next_retry_at IS NOT NULL) \
             OR (e.status = 'DONE') <> (e.done_at IS NOT NULL) \
             OR (e.status <> 'FAILED' AND e.failure_code IS NOT NULL) \
             OR (e.status <> 'FAILED' AND e.skipped_at IS NOT NULL))",
        ),
    },
    Check {
        name: "event-failed-has-reason",
        sentence: "Every FAILED event has a code, a reason, and the line of history that says so",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "SELECT CAST(e.id AS text), CASE WHEN e.failure_code IS NULL THEN 'has no code' \
             WHEN coalesce(e.last_error, '') = '' THEN 'has no reason' \
             ELSE 'has no line of history' END FROM outbox_events AS e \
             WHERE e.id > {from} AND e.id <= {to} AND e.status = 'FAILED' \
             AND (e.failure_code IS NULL OR coalesce(e.last_error, '') = '' \
             OR NOT EXISTS (SELECT 1 FROM outbox_attempts AS a WHERE a.event_id = e.id \
             AND a.kind IN ('failed', 'cancelled')))",
        ),
    },
    Check {
        name: "event-settled-once-a-lease",
        sentence: "No event was settled more often than it was claimed",
        needs: Needs::Nothing,
        // Each claim raises the token, and each lease ends in one line of history at most, in
        // DONE, or without a trace where it was given back. (Counted event by event: how many
        // events a stretch of ids holds is more than a planner knows, and a join of two stretches
        // may cost the product of both.)
        sql: Sql::Both(
            "WITH ended AS (SELECT e.id, e.status, e.lease_token, \
             (SELECT count(*) FROM outbox_attempts AS a WHERE a.event_id = e.id \
             AND (a.kind IN ('retry', 'unknown', 'defer', 'interrupted', 'lease lost') \
             OR (a.kind = 'failed' AND a.attempt > 0))) AS n \
             FROM outbox_events AS e WHERE e.id > {from} AND e.id <= {to}) \
             SELECT CAST(id AS text), 'is ' || status || ', was claimed ' || \
             CAST(lease_token AS text) || ' times, and ' || CAST(n AS text) || \
             ' leases of it ended before' FROM ended \
             WHERE lease_token < n + CASE WHEN status IN ('DONE', 'PROCESSING') THEN 1 ELSE 0 END",
        ),
    },
    Check {
        name: "event-counters-agree",
        sentence: "An event's counters are those of its history since the last replay",
        needs: Needs::Nothing,
        sql: Sql::Both(
            "WITH since AS (SELECT e.id, e.status, e.attempt_count, e.deferral_count, \
             e.interruption_count, (SELECT coalesce(max(a.id), 0) FROM outbox_attempts AS a \
             WHERE a.event_id = e.id AND a.kind = 'replayed') AS line \
             FROM outbox_events AS e WHERE e.id > {from} AND e.id <= {to}), \
             counted AS (SELECT s.*, \
             CASE WHEN s.status = 'DONE' THEN 1 ELSE 0 END + (SELECT count(*) \
             FROM outbox_attempts AS a WHERE a.event_id = s.id AND a.id > s.line \
             AND (a.kind IN ('retry', 'unknown') OR (a.kind = 'failed' AND a.attempt > 0))) \
             AS attempts, (SELECT count(*) FROM outbox_attempts AS a WHERE a.event_id = s.id \
             AND a.id > s.line AND a.kind = 'defer') AS deferrals, \
             (SELECT count(*) FROM outbox_attempts AS a WHERE a.event_id = s.id \
             AND a.id > s.line AND a.kind = 'lease lost') AS interruptions FROM since AS s) \
             SELECT CAST(id AS text), 'counts ' || CAST(attempt_count AS text) || ' attempts, ' || \
             CAST(deferral_count AS text) || ' deferrals, ' || CAST(interruption_count AS text) || \
             ' interruptions; its history ' || CAST(attempts AS text) || ', ' || \
             CAST(deferrals AS text) || ', ' || CAST(interruptions AS text) FROM counted \
             WHERE attempt_count <> attempts OR deferral_count <> deferrals \
             OR interruption_count <> interruptions",
        ),
    },
    Check {
        name: "event-lease-is-alive",
        sentence: "No lease is past its end, or longer than any lease may be",
        needs: Needs::Hosts,
        sql: Sql::Both(
            "SELECT CAST(e.id AS text), 'is leased to ' || coalesce(e.locked_by, '-') || \
             CASE WHEN e.locked_until <= {now} THEN ' by a lease that ran out and that nobody took \
             over' ELSE ' for longer than any lease may be' END FROM outbox_events AS e \
             WHERE e.id > {from} AND e.id <= {to} AND e.status = 'PROCESSING' \
             AND (e.locked_until <= {overdue} OR e.locked_until > {lease_max})",
        ),
    },
    Check {
        name: "event-broadcast-has-withdrawal",
        sentence: "Every event that pays belongs to a withdrawal that is there",
        needs: Needs::Nothing,
        sql: Sql::Each {
            postgres: "SELECT CAST(e.id AS text), 'would pay ' || e.aggregate_id || \
                 ', which is not there' FROM outbox_events AS e \
                 WHERE e.id > {from} AND e.id <= {to} AND e.aggregate_type = 'WITHDRAWAL' \
                 AND e.event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' \
                 AND NOT EXISTS (SELECT 1 FROM withdrawals AS w WHERE w.id = \
                 CASE WHEN e.aggregate_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' \
                 THEN e.aggregate_id::text::uuid END)",
            sqlite: "SELECT e.id, 'would pay ' || e.aggregate_id || ', which is not there' \
                 FROM outbox_events AS e WHERE e.id > {from} AND e.id <= {to} \
                 AND e.aggregate_type = 'WITHDRAWAL' \
                 AND e.event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' \
                 AND NOT EXISTS (SELECT 1 FROM withdrawals AS w WHERE w.id = e.aggregate_id)",
        },
    },
    Check {
        name: "event-order-was-held",
        sentence: "On ordered routes no event was taken before an earlier one of its aggregate was \
                   done or given up",
        needs: Needs::Order,
        // One neighbour is enough, for order is transitive. What was given up once comes out of
        // order when it is replayed.
        sql: Sql::Both(
            "WITH ordered (event_type, among) AS (VALUES {ordered}), taken AS (\
             SELECT e.id, (SELECT CAST(o.id AS text) FROM outbox_events AS o \
             WHERE o.status <> 'DONE' AND o.done_at IS NULL AND o.skipped_at IS NULL \
             AND o.aggregate_id = e.aggregate_id AND o.position < e.position \
             AND o.aggregate_type = e.aggregate_type AND o.event_type IN \
             (SELECT among FROM ordered WHERE ordered.event_type = e.event_type) \
             AND NOT EXISTS (SELECT 1 FROM outbox_attempts AS a WHERE a.event_id = o.id \
             AND a.kind IN ('skipped', 'cancelled')) ORDER BY o.position LIMIT 1) AS open_one, \
             (SELECT CASE WHEN d.updated_at > e.updated_at AND e.status = 'DONE' \
             THEN CAST(d.id AS text) END FROM outbox_events AS d \
             WHERE d.status = 'DONE' AND d.done_at IS NOT NULL AND d.aggregate_id = e.aggregate_id \
             AND d.position < e.position AND d.aggregate_type = e.aggregate_type \
             AND d.event_type IN \
             (SELECT among FROM ordered WHERE ordered.event_type = e.event_type) \
             AND NOT EXISTS (SELECT 1 FROM outbox_attempts AS a WHERE a.event_id = d.id \
             AND a.kind IN ('skipped', 'cancelled')) ORDER BY d.position DESC LIMIT 1) AS late_one \
             FROM outbox_events AS e WHERE e.id > {from} AND e.id <= {to} \
             AND e.status IN ('DONE', 'PROCESSING') \
             AND e.event_type IN (SELECT event_type FROM ordered)) \
             SELECT CAST(id AS text), 'was taken before ' || coalesce(open_one, late_one) \
             FROM taken WHERE open_one IS NOT NULL OR late_one IS NOT NULL",
        ),
    },
];
