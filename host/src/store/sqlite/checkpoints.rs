//! What a handler keeps from one attempt to the next.

use async_trait::async_trait;

use super::write::micros_of;
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::EventId;
use crate::store::error::Doing;
use crate::store::{CheckpointStore, LeaseRef, StoreError};

#[async_trait]
impl CheckpointStore for Sqlite {
    async fn load_checkpoint(&self, event: EventId) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT bytes FROM checkpoints WHERE event_id = ?")
            .bind(event.to_string())
            .fetch_optional(&self.reads)
            .await
            .doing("load a checkpoint")
    }

    async fn save_checkpoint(&self, lease: LeaseRef, bytes: &[u8]) -> Result<bool, StoreError> {
        const DOING: &str = "save a checkpoint";
        let bytes = bytes.to_vec();
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    let written = sqlx::query(
                        "INSERT INTO checkpoints (event_id, bytes, updated_at) \
                         SELECT id, ?3, ?4 FROM outbox_events \
                         WHERE id = ?1 AND lease_token = ?2 AND status = 'PROCESSING' \
                         ON CONFLICT (event_id) DO UPDATE \
                         SET bytes = excluded.bytes, updated_at = excluded.updated_at",
                    )
                    .bind(lease.event.to_string())
                    .bind(lease.token.0)
                    .bind(bytes)
                    .bind(micros_of(now()))
                    .execute(c)
                    .await
                    .doing(DOING)?
                    .rows_affected();
                    Ok(if written == 1 { Outcome::Keep(true) } else { Outcome::Undo(false) })
                })
            })
            .await
    }
}
