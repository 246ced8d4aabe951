//! Does each operation to a store and to the model, and compares what they answer.

mod accepting;
mod dispatching;
mod maintaining;
mod operating;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::compare::{differs, whole_state};
use super::operation::{
    About, Available, NewOne, Operation, Order, Pick, Stands, TYPES, Verdict, Wait,
};
use super::spec::{Candidates, Event, Model, Moment, State, may_choose};
use super::withdrawal::Step;
use crate::domain::{
    Aggregate, BigUint, Decision, EventId, EventStatus, EventType, FailureReason, HostId, NewEvent,
    NewSignedTransaction, Receipt, SigningRefusal, SigningSituation, Standing, TransactionKind,
    Transition, WithdrawalId, WithdrawalStatus,
};
use crate::store::conformance::world::{BROADCAST, World, acceptance, lease as lease_of, now};
use crate::store::{
    AcceptEvents, AcceptWithdrawal, Answer, AttemptRecord, Claim, Conclude, Concluded, ControlNote,
    EventFilter, IdempotencyClaim, LeaseRef, Page, Settled, Settlement, SignPayment, Signing,
    SigningRules, StoreError,
};

/// Half an hour: see [`Moment`].
pub(super) const HALF: Duration = Duration::from_secs(30 * 60);

pub(super) const ACCOUNT: &str = "0xaa";
const FIRST_NONCE: u64 = 7;

pub(super) const ALL: Page = Page { before: None, limit: 10_000 };

/// One store and the model of it.
pub(super) struct Run<'w> {
    pub(super) world: &'w World,
    pub(super) model: Model,
    /// Every lease that was ever given, the newest last.
    leases: Vec<Taken>,
    /// Every event and withdrawal that was ever written.
    events: Vec<EventId>,
    withdrawals: Vec<WithdrawalId>,
    /// Each answer in a word or two, with how often it was given.
    pub(super) seen: BTreeMap<String, u32>,
}

/// A claimed event, as the host that claimed it knows it: it may be long ago.
#[derive(Clone)]
struct Taken {
    lease: LeaseRef,
    aggregate: Aggregate,
    event_type: EventType,
    number: u32,
}

/// What differs.
type Check = Result<(), String>;

fn failed(error: &StoreError) -> String {
    format!("the store failed: {error}")
}

fn event_type(n: u8) -> EventType {
    TYPES[usize::from(n)].parse().unwrap()
}

fn ordered_among(order: Order, event_type: &EventType) -> Vec<EventType> {
    match order {
        Order::None => Vec::new(),
        Order::OfItsType => vec![event_type.clone()],
        Order::OfAllTypes => TYPES.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

fn halves(wait: Wait) -> i64 {
    (i64::from(wait) * 2 - 1).max(0)
}

fn duration(wait: Wait) -> Duration {
    HALF * u32::try_from(halves(wait)).unwrap()
}

/// Of those that fit or, if the pick says so or none fits, of all.
fn picked<T: Clone>(all: &[T], pick: Pick, fits: impl Fn(&T) -> bool) -> Option<T> {
    let fitting: Vec<_> = all.iter().filter(|one| pick.fitting && fits(one)).collect();
    let of = if fitting.is_empty() { all.iter().collect() } else { fitting };
    (!of.is_empty()).then(|| of[of.len() - 1 - usize::from(pick.back) % of.len()].clone())
}

fn key(key: &str, fingerprint: u8) -> IdempotencyClaim {
    let (scope, fingerprint) = ("caller".into(), format!("f{fingerprint}"));
    IdempotencyClaim { scope, key: key.to_owned(), fingerprint }
}

/// Signs whatever it is asked.
struct Signs(String);

#[async_trait]
impl SigningRules for Signs {
    async fn sign(&self, _: &SigningSituation) -> Result<NewSignedTransaction, SigningRefusal> {
        Ok(NewSignedTransaction {
            hash: self.0.clone(),
            kind: TransactionKind::Payment,
            raw: vec![2],
            gas_limit: 21_000,
            fee_max_per_gas: 3,
            priority_fee_max_per_gas: 1,
            native_cost_max: BigUint::from(9_u32),
            asset_units: BigUint::from(8_u32),
        })
    }
}

impl<'w> Run<'w> {
    /// The world must be empty.
    pub(super) async fn begin(world: &'w World) -> Self {
        world.store.register_account(1, ACCOUNT, FIRST_NONCE).await.unwrap();
        let model = Model {
            now: Moment { halves: 0, step: 0 },
            events: Vec::new(),
            withdrawals: BTreeMap::new(),
            answers: BTreeMap::new(),
            paused: BTreeMap::new(),
            next_nonce: FIRST_NONCE,
        };
        Self {
            world,
            model,
            leases: Vec::new(),
            events: Vec::new(),
            withdrawals: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) async fn run(&mut self, operations: &[Operation]) -> Check {
        for (n, operation) in operations.iter().enumerate() {
            self.model.now.step += 1;
            let done = self.apply(operation).await;
            done.map_err(|what| format!("operation {n}, {operation:?}: {what}"))?;
        }
        whole_state(self).await.map_err(|what| format!("at the end: {what}"))
    }

    fn same<T: PartialEq + Debug>(&mut self, what: &str, found: &T, expected: &T) -> Check {
        if found != expected {
            return Err(format!("{what}: the store says {found:?}, the model {expected:?}"));
        }
        let answer = format!("{found:?}");
        let words: Vec<_> =
            answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let second = words.get(1).filter(|word| word.starts_with(char::is_alphabetic));
        let first = words.first().copied().unwrap_or("nothing");
        let told = [Some(&what), Some(&first), second].into_iter().flatten().copied();
        *self.seen.entry(told.collect::<Vec<_>>().join(" ")).or_default() += 1;
        Ok(())
    }

    async fn apply(&mut self, operation: &Operation) -> Check {
        match operation {
            Operation::AcceptWithdrawal { key, fingerprint } => {
                self.accept_withdrawal(*key, *fingerprint).await
            }
            Operation::AcceptEvents { key: k, fingerprint, events } => {
                self.accept_events(key(&format!("k{k}"), *fingerprint), events).await
            }
            Operation::Flood => {
                let one = |n| NewOne {
                    event_type: 0,
                    about: About::Order(n),
                    key: None,
                    available: Available::Now,
                    valid_for: None,
                };
                let events: Vec<_> = (0..220).map(one).collect();
                let claim = key(&format!("flood {}", self.model.now.step), 0);
                self.accept_events(claim, &events).await
            }
            Operation::FindAnswer { key: k, fingerprint } => {
                let claim = key(&format!("k{k}"), *fingerprint);
                let found = self.world.store.find_answer(&claim).await.map_err(|e| failed(&e))?;
                let expected = self.model.answered(&claim);
                self.same("find_answer", &found, &expected)
            }
            Operation::Claim { host, event_type: n, limit, lease, order } => {
                self.claim(*host, event_type(*n), *limit, *lease, *order).await
            }
            Operation::Extend { leases, lease } => self.extend(leases, *lease).await,
            Operation::Settle(verdicts) => self.settle(verdicts).await,
            Operation::SettleAll(verdict) => {
                let held = self.leases.iter().filter(|taken| self.model.is_held(taken.lease));
                let held = held.map(|taken| (taken.clone(), *verdict)).collect();
                self.settle_these(held).await
            }
            Operation::Release(leases) => {
                let leases = self.leases_of(leases);
                self.world.store.release(&leases).await.map_err(|e| failed(&e))?;
                self.model.release(&leases);
                Ok(())
            }
            Operation::SaveCheckpoint(lease) => self.save_checkpoint(*lease).await,
            Operation::Age(hours) => {
                self.world.age(HALF * 2 * u32::from(*hours)).await;
                self.model.now = self.model.now.plus(2 * i64::from(*hours));
                Ok(())
            }
            Operation::Promote { limit } => self.promote(*limit).await,
            Operation::TakeOver { limit } => self.take_over(*limit).await,
            Operation::FailHopeless { interruptions_max, limit } => {
                self.fail_hopeless(*interruptions_max, *limit).await
            }
            Operation::Replay(_) | Operation::Skip(_) | Operation::Cancel(_) => {
                self.repair(operation).await
            }
            Operation::HeldBy(event, order) => {
                let id = self.event(*event, |e| e.state == State::Pending);
                let event_type = self.model.event_mut(id).map(|e| e.event_type.clone());
                let Some(event_type) = event_type else { return Ok(()) };
                let among = ordered_among(*order, &event_type);
                let found = self.world.store.held_by(id, &among).await.map_err(|e| failed(&e))?;
                let expected = self.model.held_by(id, &among);
                self.same("held_by", &found, &expected)
            }
            Operation::Pause(n) => {
                let (event_type, note) = (event_type(*n), ControlNote { reason: "r", by: "me" });
                let found = self.world.store.pause_route(&event_type, note).await;
                let expected = self.model.pause(&event_type);
                self.same("pause", &found.map_err(|e| failed(&e))?, &expected)
            }
            Operation::Resume(pick) => {
                let types: Vec<_> = (0..4).map(event_type).collect();
                let is_paused = |of: &EventType| self.model.paused.get(of) == Some(&true);
                let event_type = picked(&types, *pick, is_paused).unwrap();
                let note = ControlNote { reason: "r", by: "me" };
                let found = self.world.store.resume_route(&event_type, note).await;
                let expected = self.model.resume(&event_type);
                self.same("resume", &found.map_err(|e| failed(&e))?, &expected)
            }
            Operation::DeleteFinished { age, limit } => self.delete_finished(*age, *limit).await,
            Operation::DeleteAnswers { age, limit } => self.delete_answers(*age, *limit).await,
            Operation::Sign { lease, replace } => self.sign(*lease, *replace).await,
            Operation::Conclude { withdrawal, to } => self.conclude(*withdrawal, to).await,
            Operation::RequestBroadcast { withdrawal, not_within } => {
                let id = self.withdrawal(*withdrawal);
                let store = &self.world.store;
                let found = store.request_broadcast(id, duration(*not_within)).await;
                let expected = self.model.request_broadcast(id, halves(*not_within));
                self.same("request_broadcast", &found.map_err(|e| failed(&e))?, &expected)?;
                self.name_new_events().await
            }
        }
    }

    /// One of the events, or one that there is not.
    fn event(&self, pick: Pick, fits: impl Fn(&Event) -> bool) -> EventId {
        let fits = |id: &EventId| self.model.events.iter().any(|e| e.id == *id && fits(e));
        picked(&self.events, pick, fits).unwrap_or_else(EventId::generate)
    }

    fn withdrawal(&self, pick: Pick) -> WithdrawalId {
        let is_open = |id: &WithdrawalId| self.model.withdrawals[id].is_open();
        picked(&self.withdrawals, pick, is_open).unwrap_or_else(WithdrawalId::generate)
    }

    /// One of the leases that were ever given: one that is held or, where the pick does not ask for
    /// what fits, one whose event is in another hand by now.
    fn taken(&self, pick: Pick) -> Option<Taken> {
        let is_held = |taken: &Taken| self.model.is_held(taken.lease);
        let is_superseded = |taken: &Taken| {
            let mut events = self.model.events.iter();
            let event = events.find(|event| event.id == taken.lease.event);
            !is_held(taken) && event.is_some_and(|e| e.status() == EventStatus::Processing)
        };
        if pick.fitting {
            return picked(&self.leases, pick, is_held);
        }
        picked(&self.leases, Pick { fitting: true, ..pick }, is_superseded)
    }

    /// Leases, each once.
    fn leases_of(&self, which: &[Pick]) -> Vec<LeaseRef> {
        let mut leases: Vec<LeaseRef> = Vec::new();
        for lease in which.iter().filter_map(|pick| self.taken(*pick)) {
            if !leases.contains(&lease.lease) {
                leases.push(lease.lease);
            }
        }
        leases
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        self.world.texts(sql).await
    }

    /// Gives the events that the store made itself the ids that it gave them.
    async fn name_new_events(&mut self) -> Check {
        let is_new = |e: &Event| e.id.as_uuid().is_nil();
        if self.model.events.iter().any(is_new) {
            let sql = "SELECT CAST(id AS text) FROM outbox_events ORDER BY position";
            let ids = self.texts(sql).await;
            if ids.len() != self.model.events.len() {
                let known = self.model.events.len();
                return Err(format!("the store has {} events, the model {known}", ids.len()));
            }
            for (event, id) in self.model.events.iter_mut().zip(ids) {
                if is_new(event) {
                    event.id = id.parse().unwrap();
                    event.key = Some(event.id.as_uuid());
                }
            }
        }
        for event in &self.model.events {
            if !self.events.contains(&event.id) {
                self.events.push(event.id);
            }
        }
        Ok(())
    }
}
