//! What people and programs ask for, and what they are shown.

use uuid::Uuid;

use crate::domain::{
    Closing, EventStatus, EventType, Network, OutboxEvent, SignedTransaction, Timestamp,
    Withdrawal, WithdrawalStatus,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithdrawalFilter {
    pub status: Option<WithdrawalStatus>,
    pub user_id: Option<String>,
    pub network: Option<Network>,
    /// `requested_at` from here on.
    pub since: Option<Timestamp>,
    /// `requested_at` before here.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub status: Option<EventStatus>,
    pub event_type: Option<EventType>,
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// A stretch of a list: at most `limit` rows whose id is below `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub before: Option<Uuid>,
    pub limit: u32,
}

/// Each list in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    pub withdrawal: Withdrawal,
    pub transitions: Vec<TransitionRecord>,
    pub events: Vec<EventHistory>,
    pub transactions: Vec<SignedTransaction>,
    /// Set if its payment was given up.
    pub closing: Option<Closing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRecord {
    /// None for the first.
    pub from: Option<WithdrawalStatus>,
    pub to: WithdrawalStatus,
    pub tx_hash: Option<String>,
    pub reason: Option<String>,
    /// JSON text.
    pub evidence: Option<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHistory {
    pub event: OutboxEvent,
    /// Of attempts that did not end in DONE, and of what operators did.
    pub entries: Vec<HistoryEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    pub kind: HistoryKind,
    /// The attempt's number; 0 where it was none.
    pub attempt: u32,
    pub reason: String,
    pub plugin: Option<String>,
    pub release_digest: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// What a line of an event's history tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistoryKind {
    Retry,
    Unknown,
    Defer,
    Interrupted,
    LeaseLost,
    Failed,
    Replayed,
    Skipped,
    Cancelled,
    /// Tried on a canary, which failed: the old release does it.
    Canary,
}

impl HistoryKind {
    pub const ALL: [Self; 10] = [
        Self::Retry,
        Self::Unknown,
        Self::Defer,
        Self::Interrupted,
        Self::LeaseLost,
        Self::Failed,
        Self::Replayed,
        Self::Skipped,
        Self::Cancelled,
        Self::Canary,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Unknown => "unknown",
            Self::Defer => "defer",
            Self::Interrupted => "interrupted",
            Self::LeaseLost => "lease lost",
            Self::Failed => "failed",
            Self::Replayed => "replayed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Canary => "canary",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    Pending,
    /// Only FAILED events are replayed; this one is something else.
    NotFailed(EventStatus),
    NotFound,
}
