//! What is not delivered yet. Each index is named, for no statistics must turn a look at a few rows
//! into a walk over all.

use async_trait::async_trait;

use super::write::{json, micros_of};
use super::{Sqlite, now};
use crate::domain::EventType;
use crate::store::backlog::{TYPES_MAX, held, rate_wait, tally, whole};
use crate::store::error::Doing;
use crate::store::policies::by_rule;
use crate::store::releases::{Outcome, Transactions};
use crate::store::{BACKLOG_COUNT_MAX, BacklogStore, Count, StoreError, TypeBacklog};

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

/// What was put aside, whose `available_at` is in the future. `?1` is now, `?2` the bound.
const RATE_WAITS: &str = "\
    WITH RECURSIVE types (event_type) AS (SELECT min(event_type) FROM rate_waiting UNION ALL \
    SELECT (SELECT min(event_type) FROM rate_waiting WHERE event_type > types.event_type) \
    FROM types WHERE types.event_type IS NOT NULL), \
    waits (event_type, tally, unrouted, since) AS (SELECT t.event_type, \
    (SELECT count(*) FROM (SELECT 1 FROM rate_waiting AS w INDEXED BY rate_waiting_since \
    CROSS JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
    WHERE w.event_type = t.event_type LIMIT ?2)), \
    (SELECT sum(nobody) FROM (SELECT w.plugin = '' AS nobody \
    FROM rate_waiting AS w INDEXED BY rate_waiting_since \
    CROSS JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
    WHERE w.event_type = t.event_type LIMIT ?2)), \
    (SELECT CASE WHEN e.attempt_count + e.deferral_count + e.interruption_count = 0 \
    THEN w.due_at ELSE e.created_at END FROM rate_waiting AS w INDEXED BY rate_waiting_since \
    CROSS JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
    WHERE w.event_type = t.event_type ORDER BY w.due_at LIMIT 1) FROM types AS t \
    WHERE t.event_type IS NOT NULL) \
    SELECT event_type, tally, coalesce(unrouted, 0) AS unrouted, ?1 - since AS oldest_micros FROM waits WHERE tally > 0";

const HELD: &str = "\
    SELECT event_type, sum(held) AS held, count(*) AS looked FROM (SELECT e.event_type, \
    EXISTS (SELECT 1 FROM outbox_events AS earlier WHERE earlier.status <> 'DONE' \
    AND earlier.skipped_at IS NULL AND earlier.aggregate_id = e.aggregate_id \
    AND earlier.position < e.position AND earlier.aggregate_type = e.aggregate_type \
    AND earlier.event_type IN (SELECT value FROM json_each(?2))) AS held \
    FROM outbox_events AS e INDEXED BY outbox_events_pending WHERE e.status = 'PENDING' \
    AND e.event_type IN (SELECT value FROM json_each(?2)) AND e.available_at <= ?1 LIMIT ?3) \
    GROUP BY event_type";

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
        let rows = sqlx::query(RATE_WAITS)
            .bind(at)
            .bind(BACKLOG_COUNT_MAX)
            .fetch_all(&mut *tx)
            .await
            .doing(DOING)?;
        let rate_waits = rows.iter().map(rate_wait).collect::<Result<Vec<_>, _>>()?;
        let paused: Vec<String> =
            sqlx::query_scalar("SELECT event_type FROM route_controls WHERE paused")
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
        Ok(whole(&tallies, rate_waits, &paused))
    }

    async fn held(
        &self,
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventType, Count)>, StoreError> {
        let among: Vec<_> = ordered_among.iter().map(EventType::as_str).collect();
        let rows = sqlx::query(HELD)
            .bind(micros_of(now()))
            .bind(json(&among)?)
            .bind(BACKLOG_COUNT_MAX)
            .fetch_all(&self.reads)
            .await
            .doing(DOING)?;
        held(&rows)
    }

    async fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(DOING, |c| Box::pin(async move { by_rule(c).await.map(Outcome::Undo) })).await
    }
}
