//! Rows that are about to be written, apart from how a database takes them.

use std::time::Duration;

use super::{AttemptRecord, HistoryKind, LeaseRef};
use crate::domain::{
    Aggregate, EventId, EventStatus, EventType, FailureCode, FailureReason, NewEvent, Withdrawal,
    WithdrawalId, WithdrawalStatus,
};

/// A withdrawal as it was read under a lock that is held until the plan is written.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) withdrawal: Withdrawal,
    /// The hash of what was signed for it last. None: nothing was ever signed.
    pub(super) newest_hash: Option<String>,
}

/// What a settled event becomes. Columns that are not named keep their value.
#[derive(Debug, Clone)]
pub(super) struct EventUpdate {
    pub(super) lease: LeaseRef,
    pub(super) status: EventStatus,
    pub(super) attempts_added: i32,
    pub(super) deferrals_added: i32,
    pub(super) unknown: UnknownAfter,
    /// None keeps what went wrong before.
    pub(super) last_error: Option<String>,
    pub(super) failure_code: Option<FailureCode>,
    pub(super) detail: Option<String>,
    pub(super) release_digest: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl EventUpdate {
    /// Whether it says nothing but that an attempt did it. Most do: they differ only in the lease and
    /// the release, and a statement that is told only those costs the database a fifth less.
    pub(super) fn is_plainly_done(&self) -> bool {
        let Self {
            lease: _,
            status,
            attempts_added,
            deferrals_added,
            unknown,
            last_error,
            failure_code,
            detail,
            release_digest: _,
            retry_after,
        } = self;
        *status == EventStatus::Done
            && (*attempts_added, *deferrals_added) == (1, 0)
            && *unknown == UnknownAfter::No
            && last_error.is_none()
            && failure_code.is_none()
            && detail.is_none()
            && retry_after.is_none()
    }
}

/// Whether the handler must look, before it acts again, at what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownAfter {
    No,
    Yes,
    /// The handler was perhaps not asked, so what was not known before is not known now.
    AsBefore,
}

#[derive(Debug, Clone)]
pub(super) struct HistoryWrite {
    pub(super) event: EventId,
    pub(super) kind: HistoryKind,
    pub(super) reason: String,
    pub(super) attempt: AttemptRecord,
}

#[derive(Debug, Clone)]
pub(super) struct TransitionWrite {
    pub(super) withdrawal: WithdrawalId,
    pub(super) from: WithdrawalStatus,
    pub(super) to: WithdrawalStatus,
    pub(super) tx_hash: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) evidence: Option<String>,
}

/// A withdrawal's new row, and the status that it must still have to be written.
#[derive(Debug, Clone)]
pub(super) struct WithdrawalWrite {
    pub(super) from: WithdrawalStatus,
    pub(super) withdrawal: Withdrawal,
}

/// A payment that is given up after something was signed for it.
#[derive(Debug, Clone)]
pub(super) struct ClosingWrite {
    pub(super) withdrawal: WithdrawalId,
    pub(super) reason: String,
    pub(super) asked_by: String,
}

/// Rows to write beside the events' own.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) closings: Vec<ClosingWrite>,
    pub(super) withdrawals: Vec<WithdrawalWrite>,
    pub(super) transitions: Vec<TransitionWrite>,
    pub(super) events: Vec<NewEvent>,
    pub(super) history: Vec<HistoryWrite>,
}

/// An event that the failure job gives up.
#[derive(Debug)]
pub(super) struct Hopeless {
    pub(super) id: EventId,
    pub(super) aggregate: Aggregate,
    pub(super) event_type: EventType,
    pub(super) reason: FailureReason,
    pub(super) traceparent: Option<String>,
}

/// A text that both databases can keep. Postgres has no NUL, and one in a stranger's text would
/// fail the batch that it travels in.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A traceparent that the outbox takes, or none: it is never worth losing an event for.
pub(super) fn storable_traceparent(text: Option<&str>) -> Option<String> {
    text.filter(|t| (1..=256).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
}

/// A duration as the databases take it. What is longer than they can count is as good as for ever.
pub(super) fn micros(duration: Duration) -> i64 {
    // A thousand years: sums with any date of ours stay within both databases' range.
    const LONGEST: i64 = 1_000 * 366 * 86_400 * 1_000_000;
    i64::try_from(duration.as_micros()).unwrap_or(LONGEST).min(LONGEST)
}
