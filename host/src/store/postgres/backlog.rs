//! What is not delivered yet, in one statement.

use async_trait::async_trait;

use super::Postgres;
use super::row::in_queue;
use crate::domain::EventType;
use crate::store::backlog::{TYPES_MAX, held, rate_wait, tally, whole};
use crate::store::error::Doing;
use crate::store::policies::by_rule;
use crate::store::releases::{Outcome, Transactions};
use crate::store::{BACKLOG_COUNT_MAX, BacklogStore, Count, StoreError, TypeBacklog};

const DOING: &str = "read the backlog";

/// `$1` is the bound, `$2` how many types. The types of pending events are each found by one step
/// in the index, behind what is in hand; what is in hand is what the claims name.
const BACKLOG: &str = concat!(
    "WITH RECURSIVE types (event_type) AS (\
    (SELECT e.event_type FROM outbox_events AS e WHERE e.status = 'PENDING' AND ",
    in_queue!("e."),
    " ORDER BY e.event_type, e.available_at, e.id LIMIT 1) UNION ALL \
    SELECT (SELECT e.event_type FROM outbox_events AS e WHERE e.status = 'PENDING' AND ",
    in_queue!("e."),
    " AND e.event_type > types.event_type ORDER BY e.event_type, e.available_at, e.id LIMIT 1) \
    FROM types WHERE types.event_type IS NOT NULL), \
    found (event_type, status, since, due_at) AS (\
    SELECT p.* FROM (SELECT event_type FROM types WHERE event_type IS NOT NULL LIMIT $2) AS t \
    CROSS JOIN LATERAL (SELECT e.event_type, 'PENDING', \
    CASE WHEN e.attempt_count + e.deferral_count + e.interruption_count = 0 \
    THEN e.available_at ELSE e.created_at END, e.available_at FROM outbox_events AS e \
    WHERE e.status = 'PENDING' AND ",
    in_queue!("e."),
    " AND e.event_type = t.event_type AND e.available_at <= now() \
    ORDER BY e.available_at, e.id LIMIT $1) AS p UNION ALL \
    (SELECT event_type, 'PROCESSING', created_at, NULL::timestamptz FROM outbox_events \
    WHERE id = ANY (ARRAY (SELECT unnest(events) FROM outbox_claims)) \
    AND status = 'PROCESSING' LIMIT $1) UNION ALL \
    (SELECT event_type, 'RETRYING', created_at, NULL::timestamptz FROM outbox_events \
    WHERE next_retry_at IS NOT NULL AND status = 'RETRYING' LIMIT $1) UNION ALL \
    (SELECT event_type, 'FAILED', created_at, NULL::timestamptz FROM outbox_events \
    WHERE failure_code IS NOT NULL AND status = 'FAILED' LIMIT $1)) \
    SELECT event_type::text AS event_type, status, count(*) AS tally, \
    (extract(epoch FROM now() - min(since)) * 1000000)::bigint AS oldest_micros, \
    coalesce((extract(epoch FROM now() - min(due_at)) * 1000000)::bigint, 0) AS unclaimed_micros \
    FROM found GROUP BY event_type, status"
);

/// What was put aside, whose `available_at` is in the future.
const RATE_WAITS: &str = "\
    WITH RECURSIVE types (event_type) AS (\
    (SELECT event_type FROM rate_waiting ORDER BY event_type, due_at LIMIT 1) UNION ALL \
    SELECT (SELECT w.event_type FROM rate_waiting AS w WHERE w.event_type > types.event_type \
    ORDER BY w.event_type, w.due_at LIMIT 1) FROM types WHERE types.event_type IS NOT NULL) \
    SELECT t.event_type::text AS event_type, count(*) AS tally, \
    count(*) FILTER (WHERE p.plugin = '') AS unrouted, \
    (extract(epoch FROM now() - min(p.since)) * 1000000)::bigint AS oldest_micros FROM types AS t \
    CROSS JOIN LATERAL (SELECT w.plugin, CASE WHEN e.attempt_count + e.deferral_count \
    + e.interruption_count = 0 THEN w.due_at ELSE e.created_at END AS since \
    FROM rate_waiting AS w JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
    WHERE w.event_type = t.event_type ORDER BY w.due_at LIMIT $1) AS p \
    WHERE t.event_type IS NOT NULL GROUP BY t.event_type";

const HELD: &str = concat!(
    "SELECT p.event_type::text AS event_type, count(*) FILTER (WHERE p.held) AS held, \
    count(*) AS looked FROM (SELECT e.event_type, EXISTS (SELECT 1 FROM outbox_events AS earlier \
    WHERE earlier.done_at IS NULL AND earlier.skipped_at IS NULL \
    AND earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
    AND earlier.aggregate_type = e.aggregate_type AND earlier.event_type = ANY ($1::text[])) AS held \
    FROM outbox_events AS e WHERE e.status = 'PENDING' AND ",
    in_queue!("e."),
    " AND e.event_type = ANY ($1::text[]) \
    AND e.available_at <= now() LIMIT $2) AS p GROUP BY p.event_type"
);

#[async_trait]
impl BacklogStore for Postgres {
    async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError> {
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin_with("BEGIN READ ONLY").await.doing(DOING)?;
                // Statistics from a moment when much was RETRYING or FAILED would have the planner read
                // the whole table for the few that are left.
                sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")
                    .execute(&mut *tx)
                    .await
                    .doing(DOING)?;
                let rows = sqlx::query(BACKLOG)
                    .bind(i64::from(BACKLOG_COUNT_MAX))
                    .bind(i64::from(TYPES_MAX))
                    .fetch_all(&mut *tx)
                    .await
                    .doing(DOING)?;
                let tallies = rows.iter().map(tally).collect::<Result<Vec<_>, _>>()?;
                let rows = sqlx::query(RATE_WAITS)
                    .bind(i64::from(BACKLOG_COUNT_MAX))
                    .fetch_all(&mut *tx)
                    .await
                    .doing(DOING)?;
                let rate_waits = rows.iter().map(rate_wait).collect::<Result<Vec<_>, _>>()?;
                let paused: Vec<String> =
                    sqlx::query_scalar("SELECT event_type::text FROM route_controls WHERE paused")
                        .fetch_all(&mut *tx)
                        .await
                        .doing(DOING)?;
                Ok(whole(&tallies, rate_waits, &paused))
            })
            .await
    }

    async fn held(
        &self,
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventType, Count)>, StoreError> {
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin_with("BEGIN READ ONLY").await.doing(DOING)?;
                sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")
                    .execute(&mut *tx)
                    .await
                    .doing(DOING)?;
                let among: Vec<_> = ordered_among.iter().map(EventType::as_str).collect();
                let rows = sqlx::query(HELD)
                    .bind(among)
                    .bind(i64::from(BACKLOG_COUNT_MAX))
                    .fetch_all(&mut *tx)
                    .await
                    .doing(DOING)?;
                held(&rows)
            })
            .await
    }

    async fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(DOING, |c| Box::pin(async move { by_rule(c).await.map(Outcome::Undo) })).await
    }
}
