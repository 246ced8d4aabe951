//! Deleting what is finished. Batches are small, for nobody else writes meanwhile.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::store::error::Doing;
use crate::store::releases;
use crate::store::writes::micros;
use crate::store::{RetainStore, StoreError};

const DOING: &str = "delete what is finished";

/// The index is named because statistics that were taken while nothing was DONE mislead the
/// planner.
pub(in crate::store) const FINISHED: &str = "\
    SELECT e.id FROM outbox_events AS e INDEXED BY outbox_events_done_at \
    WHERE e.status = 'DONE' AND e.updated_at <= ?1 \
    AND NOT EXISTS (SELECT 1 FROM withdrawals AS w WHERE e.aggregate_type = 'WITHDRAWAL' \
    AND w.id = e.aggregate_id AND w.status IN ('REQUESTED', 'BROADCASTED')) \
    ORDER BY e.updated_at LIMIT ?2";

#[async_trait]
impl RetainStore for Sqlite {
    async fn delete_finished(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .write(DOING, move |c| Box::pin(async move { delete(c, older_than, limit).await }))
            .await
    }

    async fn delete_old_components(&self, keep: u32) -> Result<u64, StoreError> {
        releases::delete_old_components(self, keep).await
    }

    async fn delete_answers(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    let deleted = sqlx::query(
                        "DELETE FROM idempotency_keys WHERE (scope, key) IN \
                         (SELECT scope, key FROM idempotency_keys WHERE created_at <= ?1 \
                         ORDER BY created_at LIMIT ?2)",
                    )
                    .bind(micros_of(now()).saturating_sub(micros(older_than)))
                    .bind(limit)
                    .execute(c)
                    .await
                    .doing(DOING)?;
                    Ok(kept(deleted.rows_affected()))
                })
            })
            .await
    }
}

async fn delete(
    connection: &mut SqliteConnection,
    older_than: Duration,
    limit: u32,
) -> Result<Outcome<u64>, StoreError> {
    let finished: Vec<String> = sqlx::query_scalar(FINISHED)
        .bind(micros_of(now()).saturating_sub(micros(older_than)))
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    if finished.is_empty() {
        return Ok(Outcome::Undo(0));
    }
    let ids = json(&finished)?;
    for sql in [
        "DELETE FROM outbox_attempts WHERE event_id IN (SELECT value FROM json_each(?))",
        "DELETE FROM checkpoints WHERE event_id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(sql).bind(&ids).execute(&mut *connection).await.doing(DOING)?;
    }
    let deleted =
        sqlx::query("DELETE FROM outbox_events WHERE id IN (SELECT value FROM json_each(?))")
            .bind(&ids)
            .execute(connection)
            .await
            .doing(DOING)?;
    Ok(kept(deleted.rows_affected()))
}

fn kept(rows: u64) -> Outcome<u64> {
    if rows == 0 { Outcome::Undo(0) } else { Outcome::Keep(rows) }
}
