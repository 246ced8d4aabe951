//! What the jobs do.

use super::*;

impl Model {
    pub(in super::super) fn due_again(&self) -> Candidates {
        let due = |e: &Event| match e.state {
            State::Retrying { due } if due <= self.now => Some((e.id, due)),
            _ => None,
        };
        self.events.iter().filter_map(due).collect()
    }

    pub(in super::super) fn promote(&mut self, chosen: &[EventId]) {
        for id in chosen {
            let event = self.event_mut(*id).unwrap();
            if let State::Retrying { due } = event.state {
                event.available = due;
            }
            event.state = State::Pending;
        }
    }

    pub(in super::super) fn lost_leases(&self) -> Candidates {
        let lost =
            |e: &&Event| matches!(e.state, State::Processing { until, .. } if until <= self.now);
        self.events.iter().filter(lost).map(|e| (e.id, self.now)).collect()
    }

    pub(in super::super) fn take_over(&mut self, chosen: &[EventId]) {
        let due = self.now;
        for id in chosen {
            let event = self.event_mut(*id).unwrap();
            let State::Processing { host, .. } = event.state.clone() else { unreachable!() };
            event.state = State::Retrying { due };
            event.interruptions += 1;
            event.unknown = true;
            event.last_error = Some("lease lost".into());
            let attempt = event.attempts + 1;
            event.tell(HistoryKind::LeaseLost, attempt, &format!("host {host} was lost"));
        }
    }

    pub(in super::super) fn why_hopeless(&self, event: &Event, max: u32) -> Option<FailureCode> {
        let poison = event.interruptions > 0 && event.interruptions >= max;
        match event.waits() {
            true if poison => Some(FailureCode::Poison),
            true if event.is_expired(self.now) => Some(FailureCode::Expired),
            _ => None,
        }
    }

    /// → FAILED, and what follows for the withdrawal: it is FAILED too if its broadcast is, unless
    /// something was signed for it: then a rejected one is to be closed.
    pub(in super::super) fn fail(&mut self, id: EventId, reason: &FailureReason, attempt: u32) {
        let event = self.event_mut(id).unwrap();
        event.give_up(reason, attempt);
        let traceparent = event.traceparent.clone();
        if event.event_type.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED
            && let Some(id) = event.aggregate.as_withdrawal()
        {
            let refused = self.step(id, Step::Fail(reason.to_string()), traceparent).is_none();
            let withdrawal = self.withdrawals.get_mut(&id).filter(|it| it.is_open());
            if let Some(withdrawal) = withdrawal {
                withdrawal.closing |= refused && reason.code == FailureCode::Rejected;
            }
        }
    }

    pub(in super::super) fn finished(&self, age: i64) -> Candidates {
        let is_open = |e: &Event| {
            let of = e.aggregate.as_withdrawal().and_then(|id| self.withdrawals.get(&id));
            of.is_some_and(Withdrawal::is_open)
        };
        let old = |e: &Event| match e.state {
            State::Done { at } if at <= self.now.plus(-age) && !is_open(e) => Some((e.id, at)),
            _ => None,
        };
        self.events.iter().filter_map(old).collect()
    }

    pub(in super::super) fn delete(&mut self, chosen: &[EventId]) {
        self.events.retain(|e| !chosen.contains(&e.id));
    }

    pub(in super::super) fn old_answers(&self, age: i64) -> Vec<String> {
        let old = self.answers.iter().filter(|(_, (.., at))| *at <= self.now.plus(-age));
        old.map(|(key, _)| key.clone()).collect()
    }
}
