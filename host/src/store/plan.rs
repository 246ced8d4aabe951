//! What a use case writes, worked out before anything is written, and the same for both databases.
//!
//! A store locks and reads what a decision depends on ([`Facts`]), asks here what follows, and
//! writes the answer. Nothing here does I/O.

mod ends;
mod giving_up;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use self::ends::{again, check_follow_ups, failed};
use super::writes::{
    ClosingWrite, EventUpdate, Facts, HistoryWrite, Hopeless, TransitionWrite, UnknownAfter,
    WithdrawalWrite, Writes, storable,
};
use super::{AttemptRecord, Conclude, Concluded, HistoryKind, LeaseRef, Settled, Settlement};
use crate::domain::{
    Aggregate, Consequence, Decision, EventStatus, EventType, FailureCode, FailureReason, Flow,
    NewEvent, Receipt, Standing, Step, Timestamp, Transition, Withdrawal, WithdrawalId,
    WithdrawalStatus, consequence_of_failure, event_types, withdrawal_payload,
};

/// What one settlement writes.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) update: EventUpdate,
    pub(super) answer: Settled,
    events: Vec<NewEvent>,
    history: Option<HistoryWrite>,
}

/// Where a step of a withdrawal comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cause<'a> {
    pub(super) evidence: Option<&'a str>,
    pub(super) traceparent: Option<&'a str>,
}

/// The withdrawals that may be FAILED because these events are, each once, in order.
pub(super) fn followers(events: &[Hopeless]) -> Vec<WithdrawalId> {
    let mut ids: Vec<_> =
        events.iter().filter_map(|e| follows(&e.aggregate, &e.event_type)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The withdrawal that must be locked before this settlement can be planned, if there is one.
pub(super) fn withdrawal_of(settlement: &Settlement) -> Option<WithdrawalId> {
    let concerned = match &settlement.decision {
        Decision::Done(receipt) => receipt.standing.is_some(),
        Decision::Fail(_) => follows(&settlement.aggregate, &settlement.event_type).is_some(),
        Decision::Retry { .. }
        | Decision::Defer { .. }
        | Decision::Postpone { .. }
        | Decision::BackToLive { .. } => false,
    };
    concerned.then(|| settlement.aggregate.as_withdrawal()).flatten()
}

/// The withdrawal that may be FAILED because this event is.
fn follows(aggregate: &Aggregate, event_type: &EventType) -> Option<WithdrawalId> {
    match consequence_of_failure(aggregate, event_type) {
        Consequence::None => None,
        Consequence::FailWithdrawalUnlessSigned => aggregate.as_withdrawal(),
    }
}

/// Takes withdrawals through steps, and collects what that writes.
pub(super) struct Plan<'f> {
    flow: &'f Flow,
    now: Timestamp,
    facts: HashMap<WithdrawalId, Facts>,
    /// The status that each changed withdrawal had when it was read.
    changed: BTreeMap<WithdrawalId, WithdrawalStatus>,
    transitions: Vec<TransitionWrite>,
    closings: Vec<ClosingWrite>,
    events: Vec<NewEvent>,
}

impl<'f> Plan<'f> {
    pub(super) fn new(
        flow: &'f Flow,
        now: Timestamp,
        facts: impl IntoIterator<Item = Facts>,
    ) -> Self {
        let facts = facts.into_iter().map(|facts| (facts.withdrawal.id, facts)).collect();
        Self {
            flow,
            now,
            facts,
            changed: BTreeMap::new(),
            transitions: Vec::new(),
            closings: Vec::new(),
            events: Vec::new(),
        }
    }

    fn withdrawal(&self, id: WithdrawalId) -> Option<&Withdrawal> {
        self.facts.get(&id).map(|facts| &facts.withdrawal)
    }

    /// Takes one step; answers whether it changed anything. A refusal changes nothing.
    pub(super) fn step(
        &mut self,
        id: WithdrawalId,
        transition: &Transition,
        cause: Cause<'_>,
    ) -> Result<bool, String> {
        let Some(facts) = self.facts.get_mut(&id) else {
            return Err(format!("there is no withdrawal {id}"));
        };
        let signed = facts.newest_hash.is_some();
        let from = facts.withdrawal.state.status();
        if signed
            && from != WithdrawalStatus::Failed
            && matches!(transition, Transition::Fail { .. })
        {
            return Err(
                "a transaction was signed for it, so only the chain can say that it failed"
                    .to_owned(),
            );
        }
        let next = match facts.withdrawal.step(transition, self.now) {
            Ok(Step::Changed(next)) => next,
            Ok(Step::Unchanged) => return Ok(false),
            Err(illegal) => return Err(illegal.to_string()),
        };
        let to = next.state.status();
        self.transitions.push(TransitionWrite {
            withdrawal: id,
            from,
            to,
            tx_hash: next.state.tx_hash().map(str::to_owned),
            reason: next.state.failure_reason().map(storable),
            evidence: cause.evidence.map(str::to_owned),
        });
        // A replacement changes the hash and enters no status: nobody is told twice.
        if *transition == Transition::Reopen {
            self.events.extend(self.flow.events_of_reopened(&next, cause.traceparent));
        } else if from != to {
            self.events.extend(self.flow.events(&next, cause.traceparent));
        }
        self.changed.entry(id).or_insert(from);
        facts.withdrawal = next;
        Ok(true)
    }

    /// Takes the steps that the chain gave evidence for, all or none.
    pub(super) fn conclude(&mut self, request: &Conclude, traceparent: Option<&str>) -> Concluded {
        if self.withdrawal(request.withdrawal).is_none() {
            return Concluded::NotFound;
        }
        let cause = Cause { evidence: Some(&request.evidence), traceparent };
        let mut changed = false;
        for transition in &request.transitions {
            match self.step(request.withdrawal, transition, cause) {
                Ok(step) => changed |= step,
                Err(why) => return Concluded::Refused(why),
            }
        }
        match self.withdrawal(request.withdrawal) {
            Some(withdrawal) => Concluded::Now { status: withdrawal.state.status(), changed },
            None => Concluded::NotFound,
        }
    }

    /// What becomes of an event whose lease is held. `traceparent` is the event's own.
    pub(super) fn settle(&mut self, settlement: Settlement, traceparent: Option<&str>) -> Planned {
        let Settlement { lease, aggregate, event_type, decision, attempt } = settlement;
        let update = EventUpdate {
            lease,
            status: EventStatus::Retrying,
            attempts_added: 0,
            deferrals_added: 0,
            unknown: UnknownAfter::No,
            last_error: None,
            failure_code: None,
            detail: None,
            release_digest: Some(storable(&attempt.release_digest)).filter(|d| !d.is_empty()),
            retry_after: None,
        };
        let cause = Cause { evidence: None, traceparent };
        match decision {
            Decision::Done(receipt) => self.done(update, &aggregate, receipt, attempt, cause),
            Decision::Retry { after, reason, outcome_unknown } => {
                let (kind, unknown) = if outcome_unknown {
                    (HistoryKind::Unknown, UnknownAfter::Yes)
                } else {
                    (HistoryKind::Retry, UnknownAfter::No)
                };
                let update = EventUpdate { attempts_added: 1, unknown, ..update };
                again(update, after, kind, Some(&reason), attempt)
            }
            Decision::Defer { after } => {
                let update = EventUpdate { deferrals_added: 1, ..update };
                again(update, after, HistoryKind::Defer, None, attempt)
            }
            Decision::Postpone { after, reason, outcome_unknown } => {
                let unknown =
                    if outcome_unknown { UnknownAfter::Yes } else { UnknownAfter::AsBefore };
                let update = EventUpdate { unknown, ..update };
                again(update, after, HistoryKind::Interrupted, Some(&reason), attempt)
            }
            Decision::BackToLive { reason, outcome_unknown } => {
                let unknown =
                    if outcome_unknown { UnknownAfter::Yes } else { UnknownAfter::AsBefore };
                let update = EventUpdate { unknown, ..update };
                again(update, Duration::ZERO, HistoryKind::Canary, Some(&reason), attempt)
            }
            Decision::Fail(reason) => {
                self.consequence(&aggregate, &event_type, &reason, cause);
                let events = std::mem::take(&mut self.events);
                let unknown = match reason.code {
                    // The last attempt may have happened, and a replay must find that out.
                    FailureCode::AttemptsExhausted => UnknownAfter::Yes,
                    FailureCode::Rejected => UnknownAfter::No,
                    FailureCode::DeferralsExhausted
                    | FailureCode::Poison
                    | FailureCode::Expired
                    | FailureCode::Malformed
                    | FailureCode::Cancelled => UnknownAfter::AsBefore,
                };
                let update = EventUpdate { unknown, ..update };
                failed(update, &reason, events, attempt, Settled::Settled)
            }
        }
    }

    fn done(
        &mut self,
        update: EventUpdate,
        aggregate: &Aggregate,
        receipt: Receipt,
        attempt: AttemptRecord,
        cause: Cause<'_>,
    ) -> Planned {
        let Receipt { detail, standing, follow_ups } = receipt;
        let checked = check_follow_ups(aggregate, &follow_ups).and_then(|()| match standing {
            Some(standing) => self.take_standing(aggregate, &standing, cause),
            None => Ok(()),
        });
        if let Err(text) = checked {
            if attempt.on_canary {
                // Where a handler says that it did it, the old release must look first.
                let update = EventUpdate { unknown: UnknownAfter::Yes, ..update };
                let back = again(update, Duration::ZERO, HistoryKind::Canary, Some(&text), attempt);
                let reason = FailureReason { code: FailureCode::Rejected, text };
                return Planned { answer: Settled::TransitionRefused(reason), ..back };
            }
            let reason = FailureReason { code: FailureCode::Rejected, text };
            // The handler says that it did it, so a replay must not do it blindly again.
            let update = EventUpdate { unknown: UnknownAfter::Yes, ..update };
            let answer = Settled::TransitionRefused(reason.clone());
            return failed(update, &reason, Vec::new(), attempt, answer);
        }
        let mut events = std::mem::take(&mut self.events);
        events.extend(follow_ups);
        let detail = detail.as_deref().map(storable);
        let update = EventUpdate { status: EventStatus::Done, attempts_added: 1, detail, ..update };
        Planned { update, answer: Settled::Settled, events, history: None }
    }

    fn take_standing(
        &mut self,
        aggregate: &Aggregate,
        standing: &Standing,
        cause: Cause<'_>,
    ) -> Result<(), String> {
        let id = aggregate
            .as_withdrawal()
            .ok_or_else(|| "the event is not about a withdrawal".to_owned())?;
        let transition = match standing {
            Standing::Broadcasted => {
                let hash = self.facts.get(&id).and_then(|facts| facts.newest_hash.clone());
                Transition::Broadcast {
                    tx_hash: hash.ok_or_else(|| {
                        "the handler says broadcasted, but nothing was signed".to_owned()
                    })?,
                }
            }
            Standing::Failed { reason } => Transition::Fail { reason: storable(reason) },
        };
        self.step(id, &transition, cause).map(|_| ())
    }

    /// What follows for the withdrawal from a failed event.
    fn consequence(
        &mut self,
        aggregate: &Aggregate,
        event_type: &EventType,
        reason: &FailureReason,
        cause: Cause<'_>,
    ) {
        if let Some(id) = follows(aggregate, event_type) {
            let transition = Transition::Fail { reason: storable(&reason.to_string()) };
            // Refused where something was signed or the withdrawal is further on: then the chain
            // says what becomes of the payment.
            let refused = self.step(id, &transition, cause).is_err();
            if refused && reason.code == FailureCode::Rejected {
                self.close(id, storable(&reason.text), "the handler of the broadcast".to_owned());
            }
        }
    }

    /// What follows from giving events up, besides the events' own rows.
    pub(super) fn give_up(mut self, events: &[Hopeless]) -> Writes {
        for event in events {
            let cause = Cause { evidence: None, traceparent: event.traceparent.as_deref() };
            self.consequence(&event.aggregate, &event.event_type, &event.reason, cause);
        }
        let at = self.now;
        let history = events.iter().map(|event| HistoryWrite {
            event: event.id,
            kind: HistoryKind::Failed,
            reason: event.reason.text.clone(),
            // No attempt ended here.
            attempt: AttemptRecord {
                number: 0,
                plugin: String::new(),
                release_digest: String::new(),
                started_at: at,
                duration: Duration::ZERO,
                on_canary: false,
            },
        });
        Writes { history: history.collect(), ..self.into_writes() }
    }

    /// Everything that was planned, for the events that were really settled.
    pub(super) fn writes(self, planned: Vec<Planned>, settled: &HashSet<LeaseRef>) -> Writes {
        let mut writes = self.into_writes();
        for plan in planned.into_iter().filter(|plan| settled.contains(&plan.update.lease)) {
            writes.events.extend(plan.events);
            writes.history.extend(plan.history);
        }
        writes
    }

    /// The withdrawals' part alone.
    pub(super) fn into_writes(mut self) -> Writes {
        let withdrawals = self
            .changed
            .iter()
            .filter_map(|(id, from)| {
                let facts = self.facts.remove(id)?;
                Some(WithdrawalWrite { from: *from, withdrawal: facts.withdrawal })
            })
            .collect();
        Writes {
            withdrawals,
            transitions: self.transitions,
            closings: self.closings,
            events: self.events,
            history: Vec::new(),
        }
    }
}

/// The event that sends a payment (again), while the withdrawal can still be paid.
pub(super) fn broadcast_event(withdrawal: &Withdrawal) -> Option<NewEvent> {
    match withdrawal.state.status() {
        WithdrawalStatus::Requested | WithdrawalStatus::Broadcasted => {}
        WithdrawalStatus::Confirmed | WithdrawalStatus::Failed => return None,
    }
    let event_type = event_types::BLOCKCHAIN_BROADCAST_REQUESTED.parse().ok()?;
    let payload = withdrawal_payload(withdrawal).to_string();
    Some(NewEvent::due_now(Aggregate::withdrawal(withdrawal.id), event_type, payload))
}
