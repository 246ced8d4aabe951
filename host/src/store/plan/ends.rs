//! The ends of an attempt that are not DONE, as rows.

use std::time::Duration;

use super::Planned;
use crate::domain::{Aggregate, EventStatus, FailureReason, NewEvent};
use crate::store::writes::{EventUpdate, HistoryWrite, storable};
use crate::store::{AttemptRecord, HistoryKind, Settled};

pub(super) fn again(
    update: EventUpdate,
    after: Duration,
    kind: HistoryKind,
    reason: Option<&str>,
    attempt: AttemptRecord,
) -> Planned {
    let last_error = reason.map(storable);
    let reason =
        last_error.clone().unwrap_or_else(|| format!("not ready for {} ms", after.as_millis()));
    let history = Some(HistoryWrite { event: update.lease.event, kind, reason, attempt });
    let update = EventUpdate { last_error, retry_after: Some(after), ..update };
    Planned { update, answer: Settled::Settled, events: Vec::new(), history }
}

pub(super) fn failed(
    update: EventUpdate,
    reason: &FailureReason,
    events: Vec<NewEvent>,
    attempt: AttemptRecord,
    answer: Settled,
) -> Planned {
    let text = storable(&reason.text);
    let history = Some(HistoryWrite {
        event: update.lease.event,
        kind: HistoryKind::Failed,
        reason: text.clone(),
        attempt,
    });
    let update = EventUpdate {
        status: EventStatus::Failed,
        attempts_added: 1,
        last_error: Some(text),
        failure_code: Some(reason.code),
        ..update
    };
    Planned { update, answer, events, history }
}

/// A bad follow-up must fail its own event here: in the database it would fail the whole batch.
pub(super) fn check_follow_ups(
    aggregate: &Aggregate,
    follow_ups: &[NewEvent],
) -> Result<(), String> {
    for event in follow_ups {
        if event.aggregate != *aggregate {
            return Err(format!("its follow-up {} is about something else", event.event_type));
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(&event.payload).is_err() {
            return Err(format!("the payload of its follow-up {} is no JSON", event.event_type));
        }
    }
    Ok(())
}
