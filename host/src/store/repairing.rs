//! What an operator decides about single events and withdrawals.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{EventId, EventStatus, EventType, WithdrawalId};

/// What an operator decides about single events and withdrawals, and what it rests on.
#[async_trait]
pub trait RepairStore: Send + Sync {
    /// Lets the later events of an ordered route go on behind this one, which stays FAILED and is
    /// marked. `reason` goes into the history as `skipped`. Takes FAILED only; of one that is
    /// marked already nothing changes.
    async fn skip(&self, event: EventId, reason: &str) -> Result<Skipped, StoreError>;

    /// PENDING → FAILED as cancelled, and marked as a skipped one is. Takes only what no host ever
    /// claimed and what is not about a withdrawal: that has states of its own to keep.
    async fn cancel(&self, event: EventId, reason: &str) -> Result<Cancelled, StoreError>;

    /// Gives a withdrawal up. Where nothing was signed for it, it is FAILED at once, in the
    /// transaction that finds so, and its broadcast is cancelled; else its payment is to be closed,
    /// and the chain decides.
    async fn cancel_withdrawal(
        &self,
        withdrawal: WithdrawalId,
        reason: &str,
        by: &str,
    ) -> Result<CancelledWithdrawal, StoreError>;

    /// The nearest earlier event that a PENDING one waits for, if its route is ordered among these
    /// types: what the claim goes by. None for every other status.
    async fn held_by(
        &self,
        event: EventId,
        ordered_among: &[EventType],
    ) -> Result<Option<EventId>, StoreError>;

    /// The same of several events: those of them that wait, and for which.
    async fn holders(
        &self,
        events: &[EventId],
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventId, EventId)>, StoreError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    Now,
    Already,
    /// Only FAILED events are skipped; this one is something else.
    NotFailed(EventStatus),
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    Now,
    Already,
    /// A host claimed it, once at least, or it ended otherwise.
    Begun(EventStatus),
    OfWithdrawal,
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelledWithdrawal {
    /// Nothing was signed: it is FAILED, now or since before.
    Failed,
    /// Something was signed. The payment is closed as soon as the chain allows it.
    Closing,
    /// It is CONFIRMED.
    Paid,
    NotFound,
}
