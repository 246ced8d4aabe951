//! Back-pressure: nothing is accepted that would only make a queue longer which nobody works off.

use super::problem::{Problem, ProblemKind};
use super::state::Inner;
use crate::domain::{EventType, Flow, NewEvent, WithdrawalStatus};

/// What a caller should wait. A backlog that is too old does not go away within a second.
const RETRY_AFTER_S: u32 = 15;

/// Refuses while an event that a withdrawal writes has been waiting for longer than is configured.
/// Other types do not count: they are not what is handed in here. Costs no query.
pub(super) fn check_withdrawals(shared: &Inner) -> Result<(), Problem> {
    check(shared, types_of(&shared.api.flow))
}

/// The same for events that are handed in: an old backlog of one of their types refuses them.
pub(super) fn check_events(shared: &Inner, events: &[NewEvent]) -> Result<(), Problem> {
    check(shared, events.iter().map(|event| &event.event_type))
}

fn check<'t>(shared: &Inner, types: impl Iterator<Item = &'t EventType>) -> Result<(), Problem> {
    let Some(max) = shared.api.limits.backlog_age_max else { return Ok(()) };
    let seen = shared.api.backlog_seen.borrow();
    match seen.oldest_age(types) {
        Some(age) if age > max => {
            let detail = format!(
                "The oldest event has been waiting for {} s, so nothing was written. Send the same \
                 request again later.",
                age.as_secs()
            );
            Err(Problem::new(ProblemKind::BacklogTooOld, detail).retry_after(RETRY_AFTER_S))
        }
        Some(_) | None => Ok(()),
    }
}

fn types_of(flow: &Flow) -> impl Iterator<Item = &EventType> {
    WithdrawalStatus::ALL.into_iter().flat_map(move |status| flow.event_types(status))
}
