//! What people and programs look at in a store, and repair.

use async_trait::async_trait;

use super::{EventFilter, EventHistory, Page, Replayed, StoreError, Timeline, WithdrawalFilter};
use crate::domain::{Counters, EventId, OutboxEvent, Withdrawal, WithdrawalId};

/// What people and programs look at, and repair.
#[async_trait]
pub trait OperateStore: Send + Sync {
    async fn withdrawal(&self, id: WithdrawalId) -> Result<Option<Withdrawal>, StoreError>;

    /// Newest first.
    async fn withdrawals(
        &self,
        filter: &WithdrawalFilter,
        page: Page,
    ) -> Result<Vec<Withdrawal>, StoreError>;

    /// Everything that happened to a withdrawal; none if there is no such withdrawal.
    async fn timeline(&self, id: WithdrawalId) -> Result<Option<Timeline>, StoreError>;

    async fn event(&self, id: EventId) -> Result<Option<EventHistory>, StoreError>;

    /// Newest first.
    async fn events(
        &self,
        filter: &EventFilter,
        page: Page,
    ) -> Result<Vec<OutboxEvent>, StoreError>;

    /// FAILED → PENDING with its counters at zero, and `replayed` with who asked in the history.
    /// Takes FAILED only.
    async fn replay(&self, event: EventId, asked_by: &str) -> Result<Replayed, StoreError>;

    /// Whether the store can be reached and written to now; the error's fault says why not. Takes
    /// less than two seconds, whatever the store does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether events that another process writes are seen at once, and not only at the next poll.
    fn is_woken_by_others(&self) -> bool;

    /// Finishes what was begun and closes every connection. Calls that come later are answered
    /// `Unavailable`; a repeat does nothing.
    async fn close(&self) {}
}

/// What an event went through before an attempt, as `decide` wants it.
#[must_use]
pub fn counters(event: &OutboxEvent) -> Counters {
    Counters { attempts: event.attempt_count, deferrals: event.deferral_count }
}
