//! Deleting what is finished. Rows that another host is just deleting are passed over.

use std::time::Duration;

use async_trait::async_trait;

use super::Postgres;
use crate::store::error::Doing;
use crate::store::releases;
use crate::store::writes::micros;
use crate::store::{RetainStore, StoreError};

const DOING: &str = "delete what is finished";

/// A stranger may write events of a withdrawal that is none: only a UUID is looked up as one.
pub(in crate::store) const DELETE_FINISHED: &str = "\
    WITH finished AS MATERIALIZED (SELECT e.id FROM outbox_events AS e \
    WHERE e.status = 'DONE' AND e.done_at <= now() - $1 * interval '1 microsecond' \
    AND NOT EXISTS (SELECT 1 FROM withdrawals AS w WHERE w.status IN ('REQUESTED', 'BROADCASTED') \
    AND w.id = CASE WHEN e.aggregate_type = 'WITHDRAWAL' \
    AND e.aggregate_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' \
    THEN e.aggregate_id::text::uuid END) \
    ORDER BY e.done_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED), \
    history AS (DELETE FROM outbox_attempts \
    WHERE event_id = ANY (ARRAY (SELECT id FROM finished))), \
    kept AS (DELETE FROM checkpoints WHERE event_id = ANY (ARRAY (SELECT id FROM finished))) \
    DELETE FROM outbox_events WHERE id = ANY (ARRAY (SELECT id FROM finished))";

#[async_trait]
impl RetainStore for Postgres {
    async fn delete_finished(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let deleted = sqlx::query(DELETE_FINISHED)
            .bind(micros(older_than))
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await
            .doing(DOING)?;
        Ok(deleted.rows_affected())
    }

    async fn delete_old_components(&self, keep: u32) -> Result<u64, StoreError> {
        releases::delete_old_components(self, keep).await
    }

    async fn delete_answers(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let deleted = sqlx::query(
            "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY (SELECT ctid \
             FROM idempotency_keys WHERE created_at <= now() - $1 * interval '1 microsecond' \
             LIMIT $2 FOR UPDATE SKIP LOCKED))",
        )
        .bind(micros(older_than))
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .doing(DOING)?;
        Ok(deleted.rows_affected())
    }
}
