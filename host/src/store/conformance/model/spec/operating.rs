//! What operators do.

use super::*;

impl Model {
    pub(in super::super) fn replay(&mut self, id: EventId, who: &str) -> Replayed {
        let now = self.now;
        let Some(event) = self.event_mut(id) else { return Replayed::NotFound };
        if event.status() != EventStatus::Failed {
            return Replayed::NotFailed(event.status());
        }
        event.state = State::Pending;
        (event.attempts, event.interruptions, event.deferrals) = (0, 0, 0);
        event.available = now;
        event.valid_until = None;
        event.tell(HistoryKind::Replayed, 0, who);
        Replayed::Pending
    }

    pub(in super::super) fn skip(&mut self, id: EventId, why: &str) -> Skipped {
        let Some(event) = self.event_mut(id) else { return Skipped::NotFound };
        match &mut event.state {
            State::Failed { skipped: true, .. } => Skipped::Already,
            State::Failed { skipped, .. } => {
                *skipped = true;
                event.tell(HistoryKind::Skipped, 0, why);
                Skipped::Now
            }
            _ => Skipped::NotFailed(event.status()),
        }
    }

    pub(in super::super) fn cancel(&mut self, id: EventId, why: &str) -> Cancelled {
        let Some(event) = self.event_mut(id) else { return Cancelled::NotFound };
        if matches!(event.state, State::Failed { code: FailureCode::Cancelled, .. }) {
            return Cancelled::Already;
        }
        if event.aggregate.kind() == WITHDRAWAL {
            return Cancelled::OfWithdrawal;
        }
        if event.state != State::Pending || event.token > 0 {
            return Cancelled::Begun(event.status());
        }
        event.state = State::Failed { code: FailureCode::Cancelled, skipped: true };
        event.last_error = Some(why.to_owned());
        event.tell(HistoryKind::Cancelled, 0, why);
        Cancelled::Now
    }

    pub(in super::super) fn held_by(&self, id: EventId, ordered: &[EventType]) -> Option<EventId> {
        let n = self.events.iter().position(|e| e.id == id)?;
        let waits =
            self.events[n].state == State::Pending && ordered.contains(&self.events[n].event_type);
        waits.then(|| self.holder(n, ordered).map(|e| e.id)).flatten()
    }

    pub(in super::super) fn pause(&mut self, event_type: &EventType) -> ControlChange {
        match self.paused.insert(event_type.clone(), true) {
            Some(true) => ControlChange::Already,
            Some(false) | None => ControlChange::Changed,
        }
    }

    pub(in super::super) fn resume(&mut self, event_type: &EventType) -> ControlChange {
        match self.paused.get_mut(event_type) {
            Some(paused @ true) => {
                *paused = false;
                ControlChange::Changed
            }
            Some(false) | None => ControlChange::Already,
        }
    }
}
