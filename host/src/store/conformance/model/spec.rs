//! What a store does, said as simply as it can be: plain data, no SQL, one row after another. It is
//! the specification of both stores.
//!
//! Where the traits leave a store free (which of the due events a pass takes), the model takes the
//! store's choice, after [`may_choose`] allowed it.

mod accepting;
mod dispatching;
mod maintaining;
mod operating;
mod paying;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::withdrawal::{Step, Withdrawal};
use crate::domain::{
    Aggregate, Decision, EventId, EventStatus, EventType, FailureCode, FailureReason, NewEvent,
    Receipt, Standing, WITHDRAWAL, WithdrawalId, event_types,
};
use crate::store::{
    Accepted, AcceptedEvents, Answer, Cancelled, ControlChange, HistoryKind, IdempotencyClaim,
    LeaseRef, Replayed, Settled, Skipped,
};

/// A point in time. The world is aged by whole hours, which are two halves, and every duration is an
/// odd number of halves or nothing: so the seconds that a test really takes decide nothing. Within
/// a half, steps (one an operation) tell what was earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) halves: i64,
    pub(super) step: u64,
}

impl Moment {
    pub(super) fn plus(self, halves: i64) -> Self {
        Self { halves: self.halves + halves, ..self }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Nil until the store's id is known: of events that the store itself makes.
    pub(super) id: EventId,
    pub(super) aggregate: Aggregate,
    pub(super) event_type: EventType,
    pub(super) key: Option<Uuid>,
    pub(super) traceparent: Option<String>,
    pub(super) state: State,
    /// Grows with each claim, for ever.
    pub(super) token: i64,
    pub(super) attempts: u32,
    pub(super) interruptions: u32,
    pub(super) deferrals: u32,
    pub(super) unknown: bool,
    pub(super) last_error: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) available: Moment,
    pub(super) valid_until: Option<Moment>,
    pub(super) created: Moment,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) history: Vec<(HistoryKind, u32, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Processing { host: String, until: Moment },
    Retrying { due: Moment },
    Done { at: Moment },
    Failed { code: FailureCode, skipped: bool },
}

impl Event {
    pub(super) fn status(&self) -> EventStatus {
        match self.state {
            State::Pending => EventStatus::Pending,
            State::Processing { .. } => EventStatus::Processing,
            State::Retrying { .. } => EventStatus::Retrying,
            State::Done { .. } => EventStatus::Done,
            State::Failed { .. } => EventStatus::Failed,
        }
    }

    fn waits(&self) -> bool {
        matches!(self.state, State::Pending | State::Retrying { .. })
    }

    fn never_began(&self) -> bool {
        self.attempts + self.deferrals + self.interruptions == 0 && !self.unknown
    }

    fn is_expired(&self, now: Moment) -> bool {
        self.never_began() && self.valid_until.is_some_and(|until| until <= now)
    }

    /// Whether later events of an ordered route wait for it.
    fn holds(&self) -> bool {
        !matches!(self.state, State::Done { .. } | State::Failed { skipped: true, .. })
    }

    fn tell(&mut self, kind: HistoryKind, attempt: u32, reason: &str) {
        self.history.push((kind, attempt, reason.to_owned()));
    }
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Moment,
    /// In the order in which they were written.
    pub(super) events: Vec<Event>,
    pub(super) withdrawals: BTreeMap<WithdrawalId, Withdrawal>,
    /// By idempotency key: what for, what was answered, when.
    pub(super) answers: BTreeMap<String, (String, Answer, Moment)>,
    /// Every type that was ever paused.
    pub(super) paused: BTreeMap<EventType, bool>,
    pub(super) next_nonce: u64,
}

/// Candidates of a pass, by what puts them in order.
pub(super) type Candidates = Vec<(EventId, Moment)>;

/// Whether these may be taken of those: each once, as many as the limit lets, and none before one
/// that comes earlier.
pub(super) fn may_choose(
    candidates: &Candidates,
    limit: u32,
    chosen: &[EventId],
) -> Result<(), String> {
    let of: BTreeMap<_, _> = candidates.iter().copied().collect();
    let mut first: Vec<_> = of.values().copied().collect();
    first.sort_unstable();
    first.truncate(limit as usize);
    let taken: Option<Vec<_>> = chosen.iter().map(|id| of.get(id).copied()).collect();
    let distinct: BTreeSet<_> = chosen.iter().collect();
    if taken.as_ref() == Some(&first) && distinct.len() == chosen.len() {
        return Ok(());
    }
    Err(format!("of {candidates:?}, limit {limit}, it chose {chosen:?}"))
}

impl Model {
    pub(super) fn event_mut(&mut self, id: EventId) -> Option<&mut Event> {
        self.events.iter_mut().find(|e| e.id == id)
    }
}
