//! What the dispatcher needs of a store: leases, and settling what came of them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::StoreError;
use crate::domain::{
    Aggregate, Decision, EventId, EventType, FailureReason, HostId, LeaseToken, OutboxEvent,
    Timestamp,
};

/// What the dispatcher needs.
#[async_trait]
pub trait DispatchStore: Send + Sync {
    /// Leases up to `limit` due events of one type to `host`. Takes PENDING only, oldest
    /// first; each claim raises the event's lease token. Fewer than `limit` means that nothing
    /// more is due now.
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError>;

    /// Prolongs leases that are still held to `lease_for` from now. Answers those that are.
    async fn extend(
        &self,
        leases: &[LeaseRef],
        lease_for: Duration,
    ) -> Result<Vec<EventId>, StoreError>;

    /// Carries out decisions for events whose lease is still held: the event's status, its
    /// history, the withdrawal's transition and follow-up events, in one transaction. Answers one
    /// `Settled` a settlement, in the same order. At most [`CLAIM_MAX`] at once; of two
    /// settlements of one lease the first counts. `last_error` stays when an event is DONE.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError>;

    /// Gives leases back without a trace: PROCESSING → PENDING, nothing counted. Only for events
    /// whose handler was not called under this lease. Leases that were lost are passed over.
    async fn release(&self, leases: &[LeaseRef]) -> Result<(), StoreError>;

    /// A hint that there may be new work. It carries nothing: look again. Sent after what this
    /// process wrote, and after what others wrote where the database can tell.
    fn wakeups(&self) -> watch::Receiver<u64>;
}

#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub host: &'a HostId,
    pub event_type: &'a EventType,
    /// At most [`CLAIM_MAX`].
    pub limit: u32,
    pub lease_for: Duration,
    /// Not empty for an ordered route: an event is taken only if no earlier event of the same
    /// aggregate, among these types, is unfinished or FAILED. At most one event of an aggregate is
    /// taken in one claim.
    pub ordered_among: &'a [EventType],
}

/// The largest batch of a claim or a settle.
pub const CLAIM_MAX: u32 = 1_000;

/// A lease, as its holder names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    pub event: EventId,
    pub token: LeaseToken,
}

/// One attempt's end, to be written.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub lease: LeaseRef,
    pub aggregate: Aggregate,
    pub event_type: EventType,
    pub decision: Decision,
    pub attempt: AttemptRecord,
}

/// What the history keeps of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1 is the first.
    pub number: u32,
    pub plugin: String,
    pub release_digest: String,
    pub started_at: Timestamp,
    pub duration: Duration,
    /// Whether it was made on a canary: then nothing that goes wrong is the event's loss.
    pub on_canary: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Written as decided.
    Settled,
    /// Another host holds the event by now, or it was settled: nothing was written.
    LeaseLost,
    /// The handler asked for a transition that the withdrawal's rules forbid: the event was
    /// written as FAILED, for this reason, and the withdrawal left as it is. If it was tried on a
    /// canary, it is RETRYING instead, for the live release.
    TransitionRefused(FailureReason),
}
