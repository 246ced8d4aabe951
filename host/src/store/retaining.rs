//! What the retention job needs of a store.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;

/// What the retention job needs. Each call is one small transaction; as many as `limit` means that
/// there may be more.
#[async_trait]
pub trait RetainStore: Send + Sync {
    /// Deletes events that are DONE for at least `older_than`, with their checkpoints and their
    /// history, oldest first. Leaves alone: every other status with its history, and every event
    /// of a withdrawal that is REQUESTED or BROADCASTED. Answers how many events.
    async fn delete_finished(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError>;

    /// Deletes the components of releases that are not live, cannot become so by themselves, and are
    /// not among the last `keep` of their plugin that were live. What else is known of them stays, so
    /// that people can read what a digest was. Answers how many components.
    async fn delete_old_components(&self, keep: u32) -> Result<u64, StoreError>;

    /// Deletes what was answered for idempotency keys at least `older_than` ago: from then on the
    /// key is a new one. Answers how many.
    async fn delete_answers(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError>;
}
