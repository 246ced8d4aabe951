//! What a store does, said as simply as it can be: plain data, no SQL, one row after another. It is
//! the specification of both stores.
//!
//! Where the traits leave a store free (which of the due events a pass takes), the model takes the
//! store's choice, after [`may_choose`] allowed it.

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

/// Taking withdrawals and events.
impl Model {
    pub(super) fn accept_withdrawal(
        &mut self,
        id: WithdrawalId,
        events: &[NewEvent],
        key: &IdempotencyClaim,
        answer: &Answer,
    ) -> Accepted {
        if let Some(before) = self.answered(key) {
            return before;
        }
        self.answers.insert(key.key.clone(), (key.fingerprint.clone(), answer.clone(), self.now));
        self.withdrawals.insert(id, Withdrawal::default());
        for event in events {
            self.write(event, None, None);
        }
        Accepted::Created
    }

    /// The moments are each event's `available_at` and `valid_until`.
    pub(super) fn accept_events(
        &mut self,
        events: &[(NewEvent, Option<Moment>, Option<Moment>)],
        key: &IdempotencyClaim,
        answer: &Answer,
    ) -> AcceptedEvents {
        if let Some(before) = self.answered(key) {
            return AcceptedEvents::As(before);
        }
        let is_taken = |key: &Uuid| events.iter().any(|(event, ..)| event.idempotency_key == *key);
        let taken: Vec<_> = self.events.iter().filter_map(|e| e.key).filter(is_taken).collect();
        if !taken.is_empty() {
            return AcceptedEvents::EventKeysTaken(taken);
        }
        self.answers.insert(key.key.clone(), (key.fingerprint.clone(), answer.clone(), self.now));
        for (event, available, valid_until) in events {
            self.write(event, *available, *valid_until);
        }
        AcceptedEvents::As(Accepted::Created)
    }

    pub(super) fn answered(&self, key: &IdempotencyClaim) -> Option<Accepted> {
        let (fingerprint, answer, _) = self.answers.get(&key.key)?;
        let same = *fingerprint == key.fingerprint;
        Some(if same { Accepted::Replayed(answer.clone()) } else { Accepted::KeyReused })
    }

    fn write(&mut self, new: &NewEvent, available: Option<Moment>, valid_until: Option<Moment>) {
        self.events.push(Event {
            id: new.id,
            aggregate: new.aggregate.clone(),
            event_type: new.event_type.clone(),
            key: Some(new.idempotency_key),
            traceparent: new.traceparent.clone(),
            state: State::Pending,
            token: 0,
            attempts: 0,
            interruptions: 0,
            deferrals: 0,
            unknown: false,
            last_error: None,
            detail: None,
            digest: None,
            available: available.unwrap_or(self.now),
            valid_until,
            created: self.now,
            checkpoint: None,
            history: Vec::new(),
        });
    }

    /// An event that the store makes itself: its id and key are the store's.
    fn write_own(&mut self, id: WithdrawalId, event_type: &str, traceparent: Option<String>) {
        let event_type = event_type.parse().unwrap();
        let event = NewEvent::due_now(Aggregate::withdrawal(id), event_type, "{}".into());
        self.write(&NewEvent { traceparent, ..event }, None, None);
        let own = self.events.last_mut().unwrap();
        (own.id, own.key) = (EventId::from_uuid(Uuid::nil()), None);
    }
}

/// Leases and verdicts.
impl Model {
    pub(super) fn claimable(&self, event_type: &EventType, ordered: &[EventType]) -> Candidates {
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
    fn holder(&self, n: usize, ordered: &[EventType]) -> Option<&Event> {
        let event = &self.events[n];
        let before = self.events[..n].iter().rev();
        before
            .filter(|e| e.aggregate == event.aggregate && ordered.contains(&e.event_type))
            .find(|e| e.holds())
    }

    pub(super) fn claim(&mut self, chosen: &[EventId], host: &str, until: Moment) {
        for id in chosen {
            let event = self.event_mut(*id).unwrap();
            event.state = State::Processing { host: host.to_owned(), until };
            event.token += 1;
        }
    }

    pub(super) fn held(&mut self, lease: LeaseRef) -> Option<&mut Event> {
        let held = self.is_held(lease);
        self.event_mut(lease.event).filter(|_| held)
    }

    pub(super) fn is_held(&self, lease: LeaseRef) -> bool {
        let processing = |e: &&Event| e.status() == EventStatus::Processing;
        let event = self.events.iter().find(|e| e.id == lease.event).filter(processing);
        event.is_some_and(|e| e.token == lease.token.0)
    }

    pub(super) fn extend(&mut self, leases: &[LeaseRef], until: Moment) -> BTreeSet<EventId> {
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

    pub(super) fn release(&mut self, leases: &[LeaseRef]) {
        for lease in leases {
            if let Some(event) = self.held(*lease) {
                event.state = State::Pending;
            }
        }
    }

    pub(super) fn save_checkpoint(&mut self, lease: LeaseRef, bytes: &[u8]) -> bool {
        let Some(event) = self.held(lease) else { return false };
        event.checkpoint = Some(bytes.to_vec());
        true
    }

    /// `wait` is the decision's, in halves. `refusal` is the text of the store's answer, if it
    /// refused the transition: it is for people only.
    pub(super) fn settle(
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
            Decision::Done(_) | Decision::Fail(_) => unreachable!("settled above"),
        }
        Settled::Settled
    }

    fn done(&mut self, lease: LeaseRef, receipt: &Receipt, number: u32, refusal: &str) -> Settled {
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
    fn take_standing(
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
    fn step(&mut self, id: WithdrawalId, step: Step, traceparent: Option<String>) -> Option<bool> {
        let withdrawal = self.withdrawals.get_mut(&id)?;
        let before = withdrawal.status;
        if !withdrawal.take(step)? {
            return Some(false);
        }
        let status = withdrawal.status;
        if status != before {
            self.write_own(id, &format!("WITHDRAWAL_{status}"), traceparent.clone());
            self.write_own(id, event_types::PARTNER_SYNC_REQUESTED, traceparent);
        }
        Some(true)
    }
}

impl Event {
    /// → FAILED.
    fn give_up(&mut self, reason: &FailureReason, attempt: u32) {
        self.state = State::Failed { code: reason.code, skipped: false };
        self.last_error = Some(reason.text.clone());
        self.tell(HistoryKind::Failed, attempt, &reason.text);
    }
}

/// What the jobs do.
impl Model {
    pub(super) fn due_again(&self) -> Candidates {
        let due = |e: &Event| match e.state {
            State::Retrying { due } if due <= self.now => Some((e.id, due)),
            _ => None,
        };
        self.events.iter().filter_map(due).collect()
    }

    pub(super) fn promote(&mut self, chosen: &[EventId]) {
        for id in chosen {
            let event = self.event_mut(*id).unwrap();
            if let State::Retrying { due } = event.state {
                event.available = due;
            }
            event.state = State::Pending;
        }
    }

    pub(super) fn lost_leases(&self) -> Candidates {
        let lost =
            |e: &&Event| matches!(e.state, State::Processing { until, .. } if until <= self.now);
        self.events.iter().filter(lost).map(|e| (e.id, self.now)).collect()
    }

    pub(super) fn take_over(&mut self, chosen: &[EventId]) {
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

    pub(super) fn why_hopeless(&self, event: &Event, max: u32) -> Option<FailureCode> {
        let poison = event.interruptions > 0 && event.interruptions >= max;
        match event.waits() {
            true if poison => Some(FailureCode::Poison),
            true if event.is_expired(self.now) => Some(FailureCode::Expired),
            _ => None,
        }
    }

    /// → FAILED, and what follows for the withdrawal: it is FAILED too if its broadcast is, unless
    /// something was signed for it.
    pub(super) fn fail(&mut self, id: EventId, reason: &FailureReason, attempt: u32) {
        let event = self.event_mut(id).unwrap();
        event.give_up(reason, attempt);
        let traceparent = event.traceparent.clone();
        if event.event_type.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED
            && let Some(id) = event.aggregate.as_withdrawal()
        {
            let _refused = self.step(id, Step::Fail(reason.to_string()), traceparent);
        }
    }

    pub(super) fn finished(&self, age: i64) -> Candidates {
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

    pub(super) fn delete(&mut self, chosen: &[EventId]) {
        self.events.retain(|e| !chosen.contains(&e.id));
    }

    pub(super) fn old_answers(&self, age: i64) -> Vec<String> {
        let old = self.answers.iter().filter(|(_, (.., at))| *at <= self.now.plus(-age));
        old.map(|(key, _)| key.clone()).collect()
    }
}

/// What operators do.
impl Model {
    pub(super) fn replay(&mut self, id: EventId, who: &str) -> Replayed {
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

    pub(super) fn skip(&mut self, id: EventId, why: &str) -> Skipped {
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

    pub(super) fn cancel(&mut self, id: EventId, why: &str) -> Cancelled {
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

    pub(super) fn held_by(&self, id: EventId, ordered: &[EventType]) -> Option<EventId> {
        let n = self.events.iter().position(|e| e.id == id)?;
        let waits =
            self.events[n].state == State::Pending && ordered.contains(&self.events[n].event_type);
        waits.then(|| self.holder(n, ordered).map(|e| e.id)).flatten()
    }

    pub(super) fn pause(&mut self, event_type: &EventType) -> ControlChange {
        match self.paused.insert(event_type.clone(), true) {
            Some(true) => ControlChange::Already,
            Some(false) | None => ControlChange::Changed,
        }
    }

    pub(super) fn resume(&mut self, event_type: &EventType) -> ControlChange {
        match self.paused.get_mut(event_type) {
            Some(paused @ true) => {
                *paused = false;
                ControlChange::Changed
            }
            Some(false) | None => ControlChange::Already,
        }
    }
}

/// What a payment needs.
impl Model {
    /// The answer of signing, as text.
    pub(super) fn sign(
        &mut self,
        lease: LeaseRef,
        of: WithdrawalId,
        replace: bool,
        hash: &str,
    ) -> String {
        let Some(event) = self.held(lease) else { return "lease lost".into() };
        let live = event.event_type.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED
            && event.aggregate.as_withdrawal() == Some(of);
        let withdrawal = self.withdrawals.get_mut(&of).filter(|w| live && w.is_open());
        let Some(withdrawal) = withdrawal else { return "not live".into() };
        if let Some(newest) = withdrawal.signed.last().filter(|_| !replace) {
            return format!("stored {newest} {}", withdrawal.nonce.unwrap());
        }
        let nonce = *withdrawal.nonce.get_or_insert_with(|| {
            self.next_nonce += 1;
            self.next_nonce - 1
        });
        withdrawal.signed.push(hash.to_owned());
        format!("signed {hash} {nonce}")
    }

    /// All the steps or none. None if one is refused; else whether anything changed.
    pub(super) fn conclude(&mut self, id: WithdrawalId, steps: &[Step]) -> Option<bool> {
        let before = (self.withdrawals.clone(), self.events.len());
        let traceparent = self.traceparent_of(id);
        let mut changed = false;
        for step in steps {
            match self.step(id, step.clone(), traceparent.clone()) {
                Some(step) => changed |= step,
                None => {
                    self.withdrawals = before.0;
                    self.events.truncate(before.1);
                    return None;
                }
            }
        }
        Some(changed)
    }

    pub(super) fn request_broadcast(&mut self, id: WithdrawalId, not_within: i64) -> bool {
        if !self.withdrawals.get(&id).is_some_and(Withdrawal::is_open) {
            return false;
        }
        let broadcast = event_types::BLOCKCHAIN_BROADCAST_REQUESTED;
        let since = self.now.plus(-not_within);
        let is_in_the_way = |e: &&Event| {
            let ended = matches!(e.state, State::Done { .. } | State::Failed { .. });
            !ended || e.created > since
        };
        let mut earlier = self
            .events
            .iter()
            .filter(|e| e.event_type.as_str() == broadcast)
            .filter(|e| e.aggregate.as_withdrawal() == Some(id));
        if earlier.any(|e| is_in_the_way(&e)) {
            return false;
        }
        let traceparent = self.traceparent_of(id);
        self.write_own(id, broadcast, traceparent);
        true
    }

    /// Of the first event of a withdrawal that is still there: its request's.
    fn traceparent_of(&self, id: WithdrawalId) -> Option<String> {
        let first = self.events.iter().find(|e| e.aggregate.as_withdrawal() == Some(id))?;
        first.traceparent.clone()
    }
}

impl Model {
    pub(super) fn event_mut(&mut self, id: EventId) -> Option<&mut Event> {
        self.events.iter_mut().find(|e| e.id == id)
    }
}
