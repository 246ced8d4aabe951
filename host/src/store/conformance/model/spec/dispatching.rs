//! Leases and verdicts.

use super::*;

impl Model {
    pub(in super::super) fn claimable(
        &self,
        event_type: &EventType,
        ordered: &[EventType],
    ) -> Candidates {
        if self.paused.get(event_type) == Some(&true) {
            return Vec::new();
        }
        let is_held = |n| !ordered.is_empty() && self.holder(n, ordered).is_some();
        let due = |(n, e): &(usize, &Event)| {
            e.state == State::Pending
                && e.event_type == *event_type
                && e.available <= self.now
                && !e.is_expired(self.now)
                && !is_held(*n)
        };
        self.events.iter().enumerate().filter(due).map(|(_, e)| (e.id, e.available)).collect()
    }

    /// The nearest earlier event that the `n`th waits for.
    pub(super) fn holder(&self, n: usize, ordered: &[EventType]) -> Option<&Event> {
        let event = &self.events[n];
        let before = self.events[..n].iter().rev();
        before
            .filter(|e| e.aggregate == event.aggregate && ordered.contains(&e.event_type))
            .find(|e| e.holds())
    }

    pub(in super::super) fn claim(&mut self, chosen: &[EventId], host: &str, until: Moment) {
        for id in chosen {
            let event = self.event_mut(*id).unwrap();
            event.state = State::Processing { host: host.to_owned(), until };
            event.token += 1;
        }
    }

    pub(in super::super) fn held(&mut self, lease: LeaseRef) -> Option<&mut Event> {
        let held = self.is_held(lease);
        self.event_mut(lease.event).filter(|_| held)
    }

    pub(in super::super) fn is_held(&self, lease: LeaseRef) -> bool {
        let processing = |e: &&Event| e.status() == EventStatus::Processing;
        let event = self.events.iter().find(|e| e.id == lease.event).filter(processing);
        event.is_some_and(|e| e.token == lease.token.0)
    }

    pub(in super::super) fn extend(
        &mut self,
        leases: &[LeaseRef],
        until: Moment,
    ) -> BTreeSet<EventId> {
        let mut extended = BTreeSet::new();
        for lease in leases {
            if let Some(Event { state: State::Processing { until: old, .. }, id, .. }) =
                self.held(*lease)
            {
                *old = until;
                extended.insert(*id);
            }
        }
        extended
    }

    pub(in super::super) fn release(&mut self, leases: &[LeaseRef]) {
        for lease in leases {
            if let Some(event) = self.held(*lease) {
                event.state = State::Pending;
            }
        }
    }

    pub(in super::super) fn save_checkpoint(&mut self, lease: LeaseRef, bytes: &[u8]) -> bool {
        let Some(event) = self.held(lease) else { return false };
        event.checkpoint = Some(bytes.to_vec());
        true
    }

    /// `wait` is the decision's, in halves. `refusal` is the text of the store's answer, if it
    /// refused the transition: it is for people only.
    pub(in super::super) fn settle(
        &mut self,
        lease: LeaseRef,
        decision: &Decision,
        wait: i64,
        number: u32,
        refusal: &str,
    ) -> Settled {
        let due = self.now.plus(wait);
        if self.held(lease).is_none() {
            return Settled::LeaseLost;
        }
        if let Decision::Done(receipt) = decision {
            return self.done(lease, receipt, number, refusal);
        }
        if let Decision::Fail(reason) = decision {
            self.fail(lease.event, reason, number);
            let event = self.event_mut(lease.event).unwrap();
            event.attempts += 1;
            event.digest = Some("abc".into());
            match reason.code {
                FailureCode::AttemptsExhausted => event.unknown = true,
                FailureCode::Rejected => event.unknown = false,
                _ => {}
            }
            return Settled::Settled;
        }
        let event = self.held(lease).unwrap();
        event.digest = Some("abc".into());
        event.state = State::Retrying { due };
        match decision {
            Decision::Retry { reason, outcome_unknown, .. } => {
                event.attempts += 1;
                event.unknown = *outcome_unknown;
                event.last_error = Some(reason.clone());
                let kind = if *outcome_unknown { HistoryKind::Unknown } else { HistoryKind::Retry };
                event.tell(kind, number, reason);
            }
            Decision::Defer { after } => {
                event.deferrals += 1;
                event.unknown = false;
                let reason = format!("not ready for {} ms", after.as_millis());
                event.tell(HistoryKind::Defer, number, &reason);
            }
            Decision::Postpone { reason, outcome_unknown, .. } => {
                event.unknown |= *outcome_unknown;
                event.last_error = Some(reason.clone());
                event.tell(HistoryKind::Interrupted, number, reason);
            }
            Decision::BackToLive { reason, outcome_unknown } => {
                event.unknown |= *outcome_unknown;
                event.last_error = Some(reason.clone());
                event.tell(HistoryKind::Canary, number, reason);
            }
            Decision::Done(_) | Decision::Fail(_) => unreachable!("settled above"),
        }
        Settled::Settled
    }

    pub(super) fn done(
        &mut self,
        lease: LeaseRef,
        receipt: &Receipt,
        number: u32,
        refusal: &str,
    ) -> Settled {
        let now = self.now;
        let event = self.held(lease).unwrap();
        let aggregate = event.aggregate.clone();
        let fits = receipt.follow_ups.iter().all(|new| new.aggregate == aggregate);
        let traceparent = event.traceparent.clone();
        if !fits || !self.take_standing(&aggregate, receipt.standing.as_ref(), traceparent) {
            let reason = FailureReason { code: FailureCode::Rejected, text: refusal.to_owned() };
            let event = self.held(lease).unwrap();
            event.attempts += 1;
            event.unknown = true;
            event.digest = Some("abc".into());
            event.give_up(&reason, number);
            return Settled::TransitionRefused(reason);
        }
        for follow_up in &receipt.follow_ups {
            self.write(follow_up, None, None);
        }
        let event = self.held(lease).unwrap();
        event.state = State::Done { at: now };
        event.attempts += 1;
        event.unknown = false;
        event.digest = Some("abc".into());
        event.detail = receipt.detail.clone().or(event.detail.take());
        Settled::Settled
    }

    /// Whether the withdrawal's rules allow what the handler says of it.
    pub(super) fn take_standing(
        &mut self,
        aggregate: &Aggregate,
        standing: Option<&Standing>,
        traceparent: Option<String>,
    ) -> bool {
        let Some(standing) = standing else { return true };
        let Some(id) = aggregate.as_withdrawal() else { return false };
        let newest = self.withdrawals.get(&id).and_then(|w| w.signed.last().cloned());
        let step = match (standing, newest) {
            (Standing::Broadcasted, Some(hash)) => Step::Broadcast(hash),
            (Standing::Broadcasted, None) => return false,
            (Standing::Failed { reason }, _) => Step::Fail(reason.clone()),
        };
        self.step(id, step, traceparent).is_some()
    }

    /// Takes one step of a withdrawal, with the events of the default flow. None if it is refused;
    /// else whether it changed anything.
    pub(super) fn step(
        &mut self,
        id: WithdrawalId,
        step: Step,
        traceparent: Option<String>,
    ) -> Option<bool> {
        let withdrawal = self.withdrawals.get_mut(&id)?;
        let before = withdrawal.status;
        if !withdrawal.take(step)? {
            return Some(false);
        }
        let status = withdrawal.status;
        if status != before {
            let reopened = before == crate::domain::WithdrawalStatus::Confirmed;
            let entered = if reopened { "REOPENED" } else { status.as_str() };
            self.write_own(id, &format!("WITHDRAWAL_{entered}"), traceparent.clone());
            self.write_own(id, event_types::PARTNER_SYNC_REQUESTED, traceparent);
        }
        Some(true)
    }
}

impl Event {
    /// → FAILED.
    pub(super) fn give_up(&mut self, reason: &FailureReason, attempt: u32) {
        self.state = State::Failed { code: reason.code, skipped: false };
        self.last_error = Some(reason.text.clone());
        self.tell(HistoryKind::Failed, attempt, &reason.text);
    }
}
