//! What is not delivered yet, in one statement.

use async_trait::async_trait;

use super::Postgres;
use crate::store::backlog::{TYPES_MAX, sum, tally};
use crate::store::error::Doing;
use crate::store::{BACKLOG_COUNT_MAX, BacklogStore, StoreError, TypeBacklog};

const DOING: &str = "read the backlog";

/// `$1` is the bound, `$2` how many types. The types of pending events are each found by one step
/// in the index.
const BACKLOG: &str = "\
    WITH RECURSIVE types (event_type) AS (\
    (SELECT e.event_type FROM outbox_events AS e WHERE e.status = 'PENDING' \
    ORDER BY e.event_type, e.available_at, e.id LIMIT 1) UNION ALL \
    SELECT (SELECT e.event_type FROM outbox_events AS e WHERE e.status = 'PENDING' \
    AND e.event_type > types.event_type ORDER BY e.event_type, e.available_at, e.id LIMIT 1) \
    FROM types WHERE types.event_type IS NOT NULL), \
    found (event_type, status, since, due_at) AS (\
    SELECT p.* FROM (SELECT event_type FROM types WHERE event_type IS NOT NULL LIMIT $2) AS t \
    CROSS JOIN LATERAL (SELECT e.event_type, 'PENDING', \
    CASE WHEN e.attempt_count + e.deferral_count + e.interruption_count = 0 \
    THEN e.available_at ELSE e.created_at END, e.available_at FROM outbox_events AS e \
    WHERE e.status = 'PENDING' AND e.event_type = t.event_type AND e.available_at <= now() \
    ORDER BY e.available_at, e.id LIMIT $1) AS p UNION ALL \
    (SELECT event_type, 'PROCESSING', created_at, NULL::timestamptz FROM outbox_events \
    WHERE status = 'PROCESSING' LIMIT $1) UNION ALL \
    (SELECT event_type, 'RETRYING', created_at, NULL::timestamptz FROM outbox_events \
    WHERE status = 'RETRYING' LIMIT $1) UNION ALL \
    (SELECT event_type, 'FAILED', created_at, NULL::timestamptz FROM outbox_events \
    WHERE status = 'FAILED' LIMIT $1)) \
    SELECT event_type::text AS event_type, status, count(*) AS tally, \
    (extract(epoch FROM now() - min(since)) * 1000000)::bigint AS oldest_micros, \
    coalesce((extract(epoch FROM now() - min(due_at)) * 1000000)::bigint, 0) AS unclaimed_micros \
    FROM found GROUP BY event_type, status";

#[async_trait]
impl BacklogStore for Postgres {
    async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError> {
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin_with("BEGIN READ ONLY").await.doing(DOING)?;
                // Statistics from a moment when much was RETRYING or FAILED would have the planner read
                // the whole table for the few that are left.
                sqlx::query("SET LOCAL enable_seqscan = off")
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
                Ok(sum(&tallies))
            })
            .await
    }
}
