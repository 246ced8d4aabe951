//! What the retry and failure jobs need of a store.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{EventId, FailureReason};

/// What the retry and failure jobs need. Every pass is bounded by `limit`; a full pass means that
/// there may be more.
#[async_trait]
pub trait MaintainStore: Send + Sync {
    /// RETRYING and due → PENDING. Answers how many.
    async fn promote_due(&self, limit: u32) -> Result<u64, StoreError>;

    /// PROCESSING with a lease that ran out → RETRYING, due at once, with one interruption counted,
    /// `lease lost` in the history, and the outcome marked as unknown. Answers how many.
    async fn take_over_lost_leases(&self, limit: u32) -> Result<u64, StoreError>;

    /// PENDING or RETRYING, and interrupted `interruptions_max` times or more → FAILED as poison;
    /// PENDING or RETRYING, never begun, and past `valid_until` → FAILED as expired. What follows
    /// for the withdrawal is written in the same transaction. Answers what it failed.
    async fn fail_hopeless(
        &self,
        interruptions_max: u32,
        limit: u32,
    ) -> Result<Vec<(EventId, FailureReason)>, StoreError>;
}
