//! What handlers keep in a store from one attempt to the next.

use async_trait::async_trait;

use super::{LeaseRef, StoreError};
use crate::domain::EventId;

/// What a handler stores during an attempt and finds again in the next.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    async fn load_checkpoint(&self, event: EventId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the checkpoint, if the lease is still held. Answers whether it was.
    async fn save_checkpoint(&self, lease: LeaseRef, bytes: &[u8]) -> Result<bool, StoreError>;
}
