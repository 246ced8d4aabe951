//! How a call ended that gave no answer: the reason that the operator reads, and what is known of
//! its outcome.

use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use super::bindings::imported::log::Level;
use super::breaches;
use super::functions::log::printable;
use super::limits::LimitReached;
use super::release::ReleaseFacts;
use super::state::{CallFacts, CallState, RESOURCES_MAX};
use crate::domain::Outcome;

/// A reason longer than this is cut.
const REASON_BYTES_MAX: usize = 2 << 10;
/// How long an event waits for a place in a full pool of instances.
const POOL_FULL_WAIT: Duration = Duration::from_millis(100);
/// How long an event waits after the host's store was away while its handler worked.
pub(super) const STORE_AWAY_WAIT: Duration = Duration::from_secs(1);

/// How a call ended that gave no answer.
pub(super) struct Aborted {
    pub(super) reason: String,
    /// Whether something may have left the host before.
    outcome_unknown: bool,
    /// It never ran, for want of a place.
    not_begun: bool,
    /// It waited for the host's store, or could not do without it.
    store_away: bool,
}

impl Aborted {
    /// For this reason, and with what its host functions know by now.
    pub(super) fn of(facts: &CallFacts, reason: &str) -> Self {
        Self {
            reason: with_notes(facts, reason),
            outcome_unknown: facts.may_have_sent(),
            not_begun: false,
            store_away: facts.store_was_away(),
        }
    }

    pub(super) fn not_begun() -> Self {
        Self {
            reason: "the pool of instances is full".to_owned(),
            outcome_unknown: false,
            not_begun: true,
            store_away: false,
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        let Self { reason, outcome_unknown, not_begun, store_away } = self;
        if not_begun {
            Outcome::Interrupted { reason, after: POOL_FULL_WAIT, outcome_unknown: false }
        } else if store_away {
            Outcome::Interrupted { reason, after: STORE_AWAY_WAIT, outcome_unknown }
        } else if outcome_unknown {
            Outcome::Unknown { reason }
        } else {
            Outcome::Retry { reason, after: None }
        }
    }
}

/// Why the call ended without an answer.
pub(super) fn stop_reason(store: &Store<CallState>, error: &wasmtime::Error) -> String {
    let state = store.data();
    if let Some(limit) = &state.guard.exceeded {
        return limit.clone();
    }
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return limit.to_string();
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return format!("limit of {RESOURCES_MAX} resources a call reached");
    }
    let printed = state.printed.text();
    let trap = match (error.downcast_ref::<wasmtime::Trap>(), error.downcast_ref::<I32Exit>()) {
        (Some(trap), _) => format!("the handler trapped: {trap}"),
        (None, Some(exit)) => format!("the handler exited with {} and gave no answer", exit.0),
        (None, None) => match breaches::reason(error, &state.facts.release.manifest.limits) {
            Some(reason) => reason,
            None => format!("the handler was stopped: {:#}", error.root_cause()),
        },
    };
    // What a panicking guest printed last says more than the trap.
    if printed.is_empty() { trap } else { format!("{trap}; it printed: {printed}") }
}

pub(super) fn log_printed(facts: &CallFacts, store: &Store<CallState>) {
    // Redacted as a whole: a secret of several lines is one.
    let printed = store.data().printed.text();
    for line in facts.release.outbound.redactor.text(&printed).lines() {
        facts.log(Level::Info, line);
    }
}

/// The reason with what the host noticed, without secrets, as long as an operator reads.
pub(super) fn with_notes(facts: &CallFacts, reason: &str) -> String {
    let reason = facts.release.text(reason);
    let notes = facts.notes();
    let missing: Vec<_> = notes.iter().filter(|note| !reason.contains(note.as_str())).collect();
    if missing.is_empty() {
        return reason;
    }
    let notes: Vec<_> = missing.into_iter().map(String::as_str).collect();
    facts.release.text(&format!("{reason} [{}]", notes.join("; ")))
}

impl ReleaseFacts {
    /// A guest's text, as long as an operator reads, on one line, and without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        // First cut where nobody reads any more, or a long text would cost the host's time.
        let read = &text[..text.floor_char_boundary(REASON_BYTES_MAX * 8)];
        printable(&self.outbound.redactor.text(read), REASON_BYTES_MAX)
    }
}
