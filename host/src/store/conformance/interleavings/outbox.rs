//! Events, and hosts that claim, attempt, settle, stop for a while, wake and die, in every order.
//!
//! What is decided is decided by the product's own functions: `decide` of the domain, and the batch
//! and the plan of the stores' settle. What the databases do (the guards of their statements) is
//! said here once more, and held to the stores by the model test.
//!
//! Time is not counted: a lease may run out at any moment after it was given, and what is retried may
//! be due at any moment. Of a token only whether it is the row's is kept, so the states are few and
//! executions of any length are covered.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::explore::{Happens, System};
use crate::domain::{
    Aggregate, Counters, EventId, EventStatus, Flow, LeaseToken, Outcome, Receipt, RetryPolicy,
    Timestamp, decide,
};
use crate::store::batch::{Batch, Concerned, Held as HeldLeases};
use crate::store::plan::Plan;
use crate::store::writes::{EventUpdate, UnknownAfter};
use crate::store::{AttemptRecord, LeaseRef, Settled, Settlement};

pub(super) const LOST: &str = "a lost lease changes nothing";
pub(super) const DONE: &str = "DONE is never left";
pub(super) const ATTEMPTS: &str = "an interruption counts no attempt";
pub(super) const ASKED: &str = "what may have happened is asked after";
pub(super) const ORDER: &str = "no later event is in hand while an earlier one is not done";

/// What is switched off, to see that the check finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    SettleIgnoresTheToken,
    SettleIgnoresTheStatus,
    ReleaseIgnoresTheToken,
    ExtendIgnoresTheToken,
    /// Who claims what was taken over gets the token that the lost host has.
    ClaimKeepsTheToken,
    TakeOverCountsAnAttempt,
    TakeOverForgetsThatItMayHaveHappened,
    NobodyTakesOver,
    ReplayTakesDone,
    RetryingHoldsNobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ended {
    Done,
    Retry,
    Unknown,
    Defer,
    Reject,
    Interrupted,
    /// The handler was not called: a full pool.
    NotBegun,
}

pub(super) struct Outbox {
    pub(super) events: usize,
    pub(super) hosts: usize,
    /// Leases that a host holds, or believes that it holds, at the same time.
    pub(super) leases: usize,
    /// Whether the events are of one aggregate and an ordered route.
    pub(super) ordered: bool,
    /// So many lost hosts make an event poison.
    pub(super) interruptions_max: u32,
    pub(super) outcomes: &'static [Ended],
    pub(super) fault: Fault,
}

const POLICY: RetryPolicy =
    RetryPolicy { attempts_max: 2, deferrals_max: 1, base: Duration::ZERO, cap: Duration::ZERO };

/// Tokens and claims, between steps: the row's, or an older one.
const OWN: i64 = 0;
const STALE: i64 = -1;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    rows: Vec<Row>,
    /// What each host has in hand. Hosts are alike, so their order says nothing.
    hosts: Vec<Vec<Held>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Row {
    status: EventStatus,
    token: i64,
    /// Whether the lease's time is over.
    over: bool,
    attempts: u32,
    deferrals: u32,
    /// Counted up to `interruptions_max`.
    interruptions: u32,
    unknown: bool,
    skipped: bool,
    /// What no store knows: the claim that the event is in hand of, whether a handler may have done
    /// it without a word, and whether it was ever skipped.
    owner: Option<i64>,
    may_have_happened: bool,
    was_skipped: bool,
}

/// A lease in a host's hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Held {
    event: usize,
    token: i64,
    /// Which claim it is, whatever its token says.
    claim: i64,
    attempts: u32,
    deferrals: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    Claimed,
    Running,
    Ended(Ended),
}

/// Numbers are those of the host, of its lease, or of the event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Claim(usize, usize),
    Begin(usize, usize),
    End(usize, usize, Ended),
    Settle(usize, usize),
    /// The commit is done, and the host does not hear of it: it will settle again.
    SettleUnheard(usize, usize),
    Extend(usize, usize),
    Release(usize, usize),
    Die(usize),
    LeaseRunsOut(usize),
    TakeOver(usize),
    Promote(usize),
    GiveUp(usize),
    Replay(usize),
    Skip(usize),
}

impl System for Outbox {
    type State = State;
    type Action = Action;

    fn begin(&self) -> State {
        let row = Row {
            status: EventStatus::Pending,
            token: 0,
            over: false,
            attempts: 0,
            deferrals: 0,
            interruptions: 0,
            unknown: false,
            skipped: false,
            owner: None,
            may_have_happened: false,
            was_skipped: false,
        };
        State { rows: vec![row; self.events], hosts: vec![Vec::new(); self.hosts] }
    }

    fn steps(&self, state: &State) -> Vec<Happens<Self>> {
        let mut steps = Vec::new();
        for action in self.actions(state) {
            let mut next = state.clone();
            let checked = self.apply(&mut next, action).and_then(|()| check(state, &next, action));
            next.canonical();
            match checked {
                Err(property) => steps.push((action, Err(property))),
                Ok(()) if next != *state => steps.push((action, Ok(next))),
                Ok(()) => {}
            }
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let rows = &state.rows;
        let overtakes = |n: usize| {
            let is_open = |e: &Row| e.status != EventStatus::Done && !e.was_skipped;
            rows[n].status == EventStatus::Processing && rows[..n].iter().any(is_open)
        };
        (self.ordered && (0..rows.len()).any(overtakes)).then_some(ORDER)
    }

    fn is_end(&self, state: &State) -> bool {
        let is_end = |n: usize| match state.rows[n].status {
            EventStatus::Done | EventStatus::Failed => true,
            EventStatus::Pending => self.holder(state, n) == Some(EventStatus::Failed),
            EventStatus::Processing | EventStatus::Retrying => false,
        };
        (0..state.rows.len()).all(is_end)
    }

    fn is_progress(&self, action: Action) -> bool {
        // Nobody has to die, and no operator has to come.
        !matches!(action, Action::Die(_) | Action::Replay(_) | Action::Skip(_))
    }
}

impl Outbox {
    /// What may happen, guards aside, except what no status lets happen.
    fn actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (h, host) in state.hosts.iter().enumerate() {
            if host.len() < self.leases {
                let pending = |n: &usize| state.rows[*n].status == EventStatus::Pending;
                let pending = (0..state.rows.len()).filter(pending);
                actions.extend(pending.map(|n| Action::Claim(h, n)));
            }
            if !host.is_empty() {
                actions.push(Action::Die(h));
            }
            for (n, held) in host.iter().enumerate() {
                actions.push(Action::Extend(h, n));
                match held.phase {
                    Phase::Claimed => {
                        actions.extend([Action::Begin(h, n), Action::Release(h, n)]);
                        if self.outcomes.contains(&Ended::NotBegun) {
                            actions.push(Action::End(h, n, Ended::NotBegun));
                        }
                    }
                    Phase::Running => {
                        let called = self.outcomes.iter().filter(|it| **it != Ended::NotBegun);
                        actions.extend(called.map(|ended| Action::End(h, n, *ended)));
                    }
                    Phase::Ended(_) => {
                        actions.extend([Action::Settle(h, n), Action::SettleUnheard(h, n)]);
                    }
                }
            }
        }
        for (n, row) in state.rows.iter().enumerate() {
            match row.status {
                EventStatus::Pending => actions.push(Action::GiveUp(n)),
                EventStatus::Processing => {
                    actions.extend([Action::LeaseRunsOut(n), Action::TakeOver(n)]);
                }
                EventStatus::Retrying => {
                    actions.extend([Action::Promote(n), Action::GiveUp(n)]);
                }
                EventStatus::Done | EventStatus::Failed => {
                    actions.push(Action::Replay(n));
                    if self.ordered {
                        actions.push(Action::Skip(n));
                    }
                }
            }
        }
        actions
    }

    /// The status of an earlier event that this one waits for.
    fn holder(&self, state: &State, n: usize) -> Option<EventStatus> {
        let holds = |row: &&Row| {
            let forgotten =
                self.fault == Fault::RetryingHoldsNobody && row.status == EventStatus::Retrying;
            row.status != EventStatus::Done && !row.skipped && !forgotten
        };
        let earlier = state.rows[..n].iter().filter(|_| self.ordered);
        earlier.rev().find(holds).map(|row| row.status)
    }

    /// Does what the action does, or nothing where its guard does not hold.
    fn apply(&self, state: &mut State, action: Action) -> Result<(), &'static str> {
        match action {
            Action::Claim(h, n) => self.claim(state, h, n)?,
            Action::Begin(h, n) => {
                let held = &mut state.hosts[h][n];
                held.phase = Phase::Running;
                let row = &mut state.rows[held.event];
                row.may_have_happened |= row.owner == Some(held.claim);
            }
            Action::End(h, n, ended) => state.hosts[h][n].phase = Phase::Ended(ended),
            Action::Settle(h, n) => {
                self.settle(state, h, n)?;
                state.hosts[h].remove(n);
            }
            Action::SettleUnheard(h, n) => self.settle(state, h, n)?,
            Action::Extend(h, n) => {
                if let Some(row) = self.held(state, h, n, Fault::ExtendIgnoresTheToken)? {
                    row.over = false;
                } else if !matches!(state.hosts[h][n].phase, Phase::Ended(_)) {
                    // The attempt is interrupted, and nothing of it is settled.
                    state.hosts[h].remove(n);
                }
            }
            Action::Release(h, n) => {
                if let Some(row) = self.held(state, h, n, Fault::ReleaseIgnoresTheToken)? {
                    row.status = EventStatus::Pending;
                    row.leave();
                }
                state.hosts[h].remove(n);
            }
            Action::Die(h) => state.hosts[h].clear(),
            Action::LeaseRunsOut(n) => {
                state.rows[n].over |= state.rows[n].status == EventStatus::Processing;
            }
            Action::TakeOver(n) | Action::Promote(n) | Action::GiveUp(n) => {
                self.maintain(&mut state.rows[n], action);
            }
            Action::Replay(n) | Action::Skip(n) => self.operate(&mut state.rows[n], action),
        }
        Ok(())
    }

    fn claim(&self, state: &mut State, h: usize, n: usize) -> Result<(), &'static str> {
        if state.rows[n].status != EventStatus::Pending || self.holder(state, n).is_some() {
            return Ok(());
        }
        let row = &mut state.rows[n];
        if row.may_have_happened && !row.unknown {
            return Err(ASKED);
        }
        if self.fault != Fault::ClaimKeepsTheToken || row.interruptions == 0 {
            row.token += 1;
        }
        // Nobody's claim owns a pending row, so this is a new one.
        let claim = OWN;
        (row.status, row.owner) = (EventStatus::Processing, Some(claim));
        let (attempts, deferrals) = (row.attempts, row.deferrals);
        let token = row.token;
        let phase = Phase::Claimed;
        state.hosts[h].push(Held { event: n, token, claim, attempts, deferrals, phase });
        Ok(())
    }

    /// The row of a lease, if the guard of a statement lets it through.
    fn held<'s>(
        &self,
        state: &'s mut State,
        h: usize,
        n: usize,
        fault: Fault,
    ) -> Result<Option<&'s mut Row>, &'static str> {
        let held = &state.hosts[h][n];
        let row = &mut state.rows[held.event];
        let token = row.token == held.token || self.fault == fault;
        let status = row.status == EventStatus::Processing
            || fault == Fault::SettleIgnoresTheToken && self.fault == Fault::SettleIgnoresTheStatus;
        if !token || !status {
            return Ok(None);
        }
        if row.owner == Some(held.claim) { Ok(Some(row)) } else { Err(LOST) }
    }

    fn settle(&self, state: &mut State, h: usize, n: usize) -> Result<(), &'static str> {
        let held = state.hosts[h][n].clone();
        let Phase::Ended(ended) = held.phase else { return Ok(()) };
        let settlement = settlement(&held, ended);
        let lease = settlement.lease;
        let batch = vec![settlement];
        let concerned = Concerned::of(&batch).unwrap();
        let flow = Flow::default();
        let mut plan = Plan::new(&flow, Timestamp::UNIX_EPOCH, []);
        let batch = Batch::plan(batch, &concerned, HeldLeases::new(), &mut plan);
        let mut settled = HashSet::new();
        for planned in &batch.planned {
            if let Some(row) = self.held(state, h, n, Fault::SettleIgnoresTheToken)? {
                row.update(&planned.update);
                row.may_have_happened &= match ended {
                    Ended::Unknown | Ended::Interrupted | Ended::NotBegun => true,
                    Ended::Done | Ended::Retry | Ended::Defer | Ended::Reject => false,
                };
                settled.insert(lease);
            }
        }
        let (writes, answers) = batch.finish(plan, &settled).unwrap();
        let expected = if settled.is_empty() { Settled::LeaseLost } else { Settled::Settled };
        assert_eq!(answers, [expected]);
        assert!(!settled.is_empty() || writes.history.is_empty());
        Ok(())
    }

    fn maintain(&self, row: &mut Row, action: Action) {
        match (action, row.status) {
            (Action::TakeOver(_), EventStatus::Processing) if row.over => {
                if self.fault == Fault::NobodyTakesOver {
                    return;
                }
                row.status = EventStatus::Retrying;
                row.interruptions = (row.interruptions + 1).min(self.interruptions_max);
                row.unknown |= self.fault != Fault::TakeOverForgetsThatItMayHaveHappened;
                row.attempts += u32::from(self.fault == Fault::TakeOverCountsAnAttempt);
                row.leave();
            }
            (Action::Promote(_), EventStatus::Retrying) => row.status = EventStatus::Pending,
            (Action::GiveUp(_), EventStatus::Pending | EventStatus::Retrying)
                if row.interruptions >= self.interruptions_max =>
            {
                row.status = EventStatus::Failed;
            }
            _ => {}
        }
    }

    fn operate(&self, row: &mut Row, action: Action) {
        let replayed = row.status == EventStatus::Failed
            || self.fault == Fault::ReplayTakesDone && row.status == EventStatus::Done;
        match action {
            Action::Replay(_) if replayed => {
                row.status = EventStatus::Pending;
                (row.attempts, row.deferrals, row.interruptions) = (0, 0, 0);
                row.skipped = false;
            }
            Action::Skip(_) if row.status == EventStatus::Failed => {
                (row.skipped, row.was_skipped) = (true, true);
            }
            _ => {}
        }
    }
}

/// As the dispatcher makes it, from what the host saw when it claimed.
fn settlement(held: &Held, ended: Ended) -> Settlement {
    let (reason, after) = (String::new(), Duration::ZERO);
    let outcome = match ended {
        Ended::Done => Outcome::Done(Receipt::default()),
        Ended::Retry => Outcome::Retry { reason, after: None },
        Ended::Unknown => Outcome::Unknown { reason },
        Ended::Defer => Outcome::Defer { after },
        Ended::Reject => Outcome::Reject { reason },
        Ended::Interrupted => Outcome::Interrupted { reason, after, outcome_unknown: true },
        Ended::NotBegun => Outcome::Interrupted { reason, after, outcome_unknown: false },
    };
    let counters = Counters { attempts: held.attempts, deferrals: held.deferrals };
    let event = EventId::from_uuid(Uuid::from_u128(held.event as u128));
    Settlement {
        lease: LeaseRef { event, token: LeaseToken(held.token) },
        aggregate: Aggregate::new("ORDER", "1").unwrap(),
        event_type: "A".parse().unwrap(),
        decision: decide(outcome, counters, &POLICY, 0),
        attempt: AttemptRecord {
            number: held.attempts + 1,
            plugin: String::new(),
            release_digest: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            duration: Duration::ZERO,
            on_canary: false,
        },
    }
}

impl Row {
    /// The event is in nobody's hand.
    fn leave(&mut self) {
        (self.over, self.owner) = (false, None);
    }

    /// As the settle's statement does it.
    fn update(&mut self, update: &EventUpdate) {
        self.status = update.status;
        self.attempts = self.attempts.strict_add_signed(update.attempts_added);
        self.deferrals = self.deferrals.strict_add_signed(update.deferrals_added);
        match update.unknown {
            UnknownAfter::No => self.unknown = false,
            UnknownAfter::Yes => self.unknown = true,
            UnknownAfter::AsBefore => {}
        }
        self.leave();
    }
}

impl State {
    /// The one of all states that are alike. A token that is not the row's never is again, for
    /// tokens only grow: which one it is, and what its attempt came to, decides nothing.
    fn canonical(&mut self) {
        for held in self.hosts.iter_mut().flatten() {
            let row = &self.rows[held.event];
            held.claim = if row.owner == Some(held.claim) { OWN } else { STALE };
            held.token = if row.token == held.token { OWN } else { STALE };
            if (held.claim, held.token) == (STALE, STALE) {
                (held.attempts, held.deferrals) = (0, 0);
                if let Phase::Ended(ended) = &mut held.phase {
                    *ended = Ended::Done;
                }
            }
        }
        for row in &mut self.rows {
            row.token = OWN;
            row.owner = row.owner.map(|_| OWN);
        }
        self.hosts.iter_mut().for_each(|host| host.sort_unstable());
        self.hosts.sort_unstable();
    }
}

/// What no step may do.
fn check(before: &State, after: &State, action: Action) -> Result<(), &'static str> {
    let counts = match action {
        Action::Settle(h, n) | Action::SettleUnheard(h, n) => {
            !matches!(before.hosts[h][n].phase, Phase::Ended(Ended::Interrupted | Ended::NotBegun))
        }
        _ => false,
    };
    for (old, new) in before.rows.iter().zip(&after.rows) {
        if old.status == EventStatus::Done && new.status != EventStatus::Done {
            return Err(DONE);
        }
        if new.attempts > old.attempts && !counts {
            return Err(ATTEMPTS);
        }
    }
    Ok(())
}
