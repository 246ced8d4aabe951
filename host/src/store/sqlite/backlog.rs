//! What is not delivered yet. Each index is named, for no statistics must turn a look at a few rows
//! into a walk over all.

use async_trait::async_trait;

use super::write::micros_of;
use super::{Sqlite, now};
use crate::store::backlog::{TYPES_MAX, sum, tally};
use crate::store::error::Doing;
use crate::store::{BACKLOG_COUNT_MAX, BacklogStore, StoreError, TypeBacklog};

const DOING: &str = "read the backlog";

/// The types of pending events, each found by one step in the index.
const TYPES: &str = "\
    WITH RECURSIVE types (event_type) AS (\
    SELECT min(event_type) FROM outbox_events INDEXED BY outbox_events_pending \
    WHERE status = 'PENDING' UNION ALL \
    SELECT (SELECT min(event_type) FROM outbox_events INDEXED BY outbox_events_pending \
    WHERE status = 'PENDING' AND event_type > types.event_type) FROM types \
    WHERE types.event_type IS NOT NULL) \
    SELECT event_type FROM types WHERE event_type IS NOT NULL LIMIT ?1";

/// `?1` is now, `?2` the type, `?3` the bound.
const PENDING: &str = "\
    SELECT ?2 AS event_type, 'PENDING' AS status, count(*) AS tally, \
    ?1 - coalesce(min(since), ?1) AS oldest_micros, \
    ?1 - coalesce(min(available_at), ?1) AS unclaimed_micros FROM (\
    SELECT available_at, CASE WHEN attempt_count + deferral_count + interruption_count = 0 \
    THEN available_at ELSE created_at END AS since \
    FROM outbox_events INDEXED BY outbox_events_pending \
    WHERE status = 'PENDING' AND event_type = ?2 AND available_at <= ?1 \
    ORDER BY available_at LIMIT ?3)";

macro_rules! others_sql {
    ($status:literal, $index:literal) => {
        concat!(
            "SELECT event_type, '",
            $status,
            "' AS status, count(*) AS tally, ?1 - min(created_at) AS oldest_micros, \
             0 AS unclaimed_micros FROM (SELECT event_type, created_at \
             FROM outbox_events INDEXED BY ",
            $index,
            " WHERE status = '",
            $status,
            "' LIMIT ?2) GROUP BY event_type"
        )
    };
}

const OTHERS: [&str; 3] = [
    others_sql!("PROCESSING", "outbox_events_processing"),
    others_sql!("RETRYING", "outbox_events_retrying"),
    others_sql!("FAILED", "outbox_events_failed"),
];

#[async_trait]
impl BacklogStore for Sqlite {
    async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError> {
        // One snapshot, so that the numbers are of one moment.
        let mut tx = self.reads.begin().await.doing(DOING)?;
        let at = micros_of(now());
        let types: Vec<String> =
            sqlx::query_scalar(TYPES).bind(TYPES_MAX).fetch_all(&mut *tx).await.doing(DOING)?;
        let mut tallies = Vec::new();
        for event_type in types {
            let pending = sqlx::query(PENDING)
                .bind(at)
                .bind(event_type)
                .bind(BACKLOG_COUNT_MAX)
                .fetch_one(&mut *tx)
                .await
                .doing(DOING)?;
            let pending = tally(&pending)?;
            // Of a type that has nothing but scheduled events, nothing is due.
            if pending.is_some() {
                tallies.push(pending);
            }
        }
        for sql in OTHERS {
            let rows = sqlx::query(sql)
                .bind(at)
                .bind(BACKLOG_COUNT_MAX)
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
            for found in &rows {
                tallies.push(tally(found)?);
            }
        }
        Ok(sum(&tallies))
    }
}
