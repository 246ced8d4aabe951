//! What a handler keeps from one attempt to the next.

use async_trait::async_trait;

use super::Postgres;
use crate::domain::EventId;
use crate::store::error::Doing;
use crate::store::{CheckpointStore, LeaseRef, StoreError};

#[async_trait]
impl CheckpointStore for Postgres {
    async fn load_checkpoint(&self, event: EventId) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT bytes FROM checkpoints WHERE event_id = $1")
            .bind(event.as_uuid())
            .fetch_optional(&self.pool)
            .await
            .doing("load a checkpoint")
    }

    async fn save_checkpoint(&self, lease: LeaseRef, bytes: &[u8]) -> Result<bool, StoreError> {
        // FOR SHARE: the lease cannot be taken over between the look and the write.
        let written = sqlx::query(
            "WITH held AS (SELECT id FROM outbox_events WHERE id = $1 AND lease_token = $2 \
             AND status = 'PROCESSING' FOR SHARE) \
             INSERT INTO checkpoints (event_id, bytes, updated_at) SELECT id, $3, now() FROM held \
             ON CONFLICT (event_id) DO UPDATE \
             SET bytes = excluded.bytes, updated_at = excluded.updated_at",
        )
        .bind(lease.event.as_uuid())
        .bind(lease.token.0)
        .bind(bytes)
        .execute(&self.pool)
        .await
        .doing("save a checkpoint")?;
        Ok(written.rows_affected() == 1)
    }
}
