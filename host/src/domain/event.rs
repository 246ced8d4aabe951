//! An outbox event: one durable task for one target.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::Timestamp;
use super::id::{EventId, HostId, LeaseToken};
use super::name::{Aggregate, EventType};
use super::outcome::FailureCode;

/// An event that is about to be written, in the transaction of the change that causes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub id: EventId,
    pub aggregate: Aggregate,
    pub event_type: EventType,
    /// JSON text.
    pub payload: String,
    pub idempotency_key: Uuid,
    /// Not before this time; at once if none.
    pub available_at: Option<Timestamp>,
    /// FAILED as expired if it has not begun by then.
    pub valid_until: Option<Timestamp>,
    pub traceparent: Option<String>,
}

impl NewEvent {
    /// An event that is due at once, whose idempotency key is its own id.
    #[must_use]
    pub fn due_now(aggregate: Aggregate, event_type: EventType, payload: String) -> Self {
        let id = EventId::generate();
        Self {
            id,
            aggregate,
            event_type,
            payload,
            idempotency_key: id.as_uuid(),
            available_at: None,
            valid_until: None,
            traceparent: None,
        }
    }
}

/// An event as it lies in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    pub id: EventId,
    pub aggregate: Aggregate,
    pub event_type: EventType,
    /// JSON text.
    pub payload: String,
    pub idempotency_key: Uuid,
    pub state: EventState,
    /// Attempts that ended and counted.
    pub attempt_count: u32,
    /// Hosts that were lost while they worked on it. Never counted as attempts.
    pub interruption_count: u32,
    /// How often the handler said "not ready yet".
    pub deferral_count: u32,
    /// Whether the last attempt may have happened, so that the handler must look before it acts.
    pub outcome_unknown: bool,
    pub last_error: Option<String>,
    /// What the handler said when it was done. JSON text.
    pub detail: Option<String>,
    /// The release that worked on it last.
    pub release_digest: Option<String>,
    pub available_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub traceparent: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[cfg(test)]
impl OutboxEvent {
    /// An event that a host has just claimed for the first time.
    pub(crate) fn just_claimed(new: NewEvent, now: Timestamp) -> Self {
        Self {
            id: new.id,
            aggregate: new.aggregate,
            event_type: new.event_type,
            payload: new.payload,
            idempotency_key: new.idempotency_key,
            state: EventState::Processing(Lease {
                locked_by: HostId::generate("test"),
                locked_until: now + chrono::TimeDelta::seconds(60),
                token: LeaseToken(1),
            }),
            attempt_count: 0,
            interruption_count: 0,
            deferral_count: 0,
            outcome_unknown: false,
            last_error: None,
            detail: None,
            release_digest: None,
            available_at: new.available_at.unwrap_or(now),
            valid_until: new.valid_until,
            traceparent: new.traceparent,
            created_at: now,
            updated_at: now,
        }
    }
}

/// Where an event stands, with the facts that make it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventState {
    Pending,
    Processing(Lease),
    Retrying {
        next_retry_at: Timestamp,
    },
    Done,
    Failed {
        code: FailureCode,
        /// Since when no later event of an ordered route waits for it. None: they wait.
        skipped_at: Option<Timestamp>,
    },
}

/// The time-limited, fenced right of one host to work on one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub locked_by: HostId,
    pub locked_until: Timestamp,
    pub token: LeaseToken,
}

impl EventState {
    #[must_use]
    pub fn status(&self) -> EventStatus {
        match self {
            Self::Pending => EventStatus::Pending,
            Self::Processing(_) => EventStatus::Processing,
            Self::Retrying { .. } => EventStatus::Retrying,
            Self::Done => EventStatus::Done,
            Self::Failed { .. } => EventStatus::Failed,
        }
    }
}

/// The status as it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventStatus {
    Pending,
    Processing,
    Retrying,
    Done,
    Failed,
}

impl EventStatus {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Processing, Self::Retrying, Self::Done, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Retrying => "RETRYING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for EventStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}
