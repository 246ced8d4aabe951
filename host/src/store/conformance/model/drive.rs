//! Does each operation to a store and to the model, and compares what they answer.

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

/// Taking withdrawals and events.
impl Run<'_> {
    fn answer(&self) -> Answer {
        let step = self.model.now.step;
        Answer { status: 201, location: "/x".into(), body: format!("{{\"step\": {step}}}") }
    }

    async fn accept_withdrawal(&mut self, k: u8, fingerprint: u8) -> Check {
        let idempotency = key(&format!("k{k}"), fingerprint);
        let request = AcceptWithdrawal { idempotency, answer: self.answer(), ..acceptance("") };
        let (id, events) = (request.withdrawal.id, request.events.clone());
        let found =
            self.world.store.accept_withdrawal(request.clone()).await.map_err(|e| failed(&e))?;
        let known = self.model.withdrawals.len();
        let expected =
            self.model.accept_withdrawal(id, &events, &request.idempotency, &request.answer);
        if self.model.withdrawals.len() > known {
            self.withdrawals.push(id);
        }
        self.same("accept_withdrawal", &found, &expected)?;
        self.name_new_events().await
    }

    async fn accept_events(&mut self, claim: IdempotencyClaim, events: &[NewOne]) -> Check {
        let (clock, mut keys) = (now(), Vec::new());
        let at = |wait: i64| {
            let half = chrono::Duration::from_std(HALF).unwrap();
            clock + half * i32::try_from(wait).unwrap()
        };
        let mut new = Vec::new();
        for one in events {
            let about = match one.about {
                About::Order(n) => Aggregate::new("ORDER", &n.to_string()).unwrap(),
                About::Withdrawal(n) => Aggregate::withdrawal(self.withdrawal(n)),
                About::Nobody => Aggregate::withdrawal(WithdrawalId::from_uuid(Uuid::max())),
            };
            let mut event = NewEvent::due_now(about, event_type(one.event_type), "{}".into());
            if let Some(key) = one.key.filter(|key| !keys.contains(key)) {
                keys.push(key);
                event.idempotency_key = Uuid::from_u128(u128::from(key) + 1);
            }
            let available = match one.available {
                Available::Now => None,
                Available::Earlier => Some(-1),
                Available::In(wait) => Some(halves(wait)),
            };
            // No time at all is a time that is over.
            let valid_for = one.valid_for.map(|wait| if wait == 0 { -1 } else { halves(wait) });
            event.available_at = available.map(at);
            event.valid_until = valid_for.map(at);
            let moment = |wait: Option<i64>| wait.map(|wait| self.model.now.plus(wait));
            new.push((event, moment(available), moment(valid_for)));
        }
        let request = AcceptEvents {
            events: new.iter().map(|(event, ..)| event.clone()).collect(),
            idempotency: claim.clone(),
            answer: self.answer(),
        };
        let found = self.world.store.accept_events(request).await.map_err(|e| failed(&e))?;
        let answer = self.answer();
        let expected = self.model.accept_events(&new, &claim, &answer);
        self.same("accept_events", &found, &expected)?;
        self.name_new_events().await
    }
}

/// Leases and verdicts.
impl Run<'_> {
    async fn claim(
        &mut self,
        host: u8,
        event_type: EventType,
        limit: u32,
        lease: Wait,
        order: Order,
    ) -> Check {
        let host = format!("host-{host}");
        let among = ordered_among(order, &event_type);
        let request = Claim {
            host: &HostId::from_text(host.clone()),
            event_type: &event_type,
            limit,
            lease_for: duration(lease),
            ordered_among: &among,
        };
        let mut candidates = self.model.claimable(&event_type, &among);
        let events = self.world.store.claim(request).await.map_err(|e| failed(&e))?;
        let chosen: Vec<_> = events.iter().map(|e| e.id).collect();
        if limit >= 100 && candidates.len() > limit as usize {
            // A large claim may for a moment pass over what came into its back.
            candidates.iter_mut().for_each(|(_, at)| *at = self.model.now);
        }
        may_choose(&candidates, limit, &chosen)?;
        self.same("claim", &chosen.len().min(3), &candidates.len().min(limit as usize).min(3))?;
        self.model.claim(&chosen, &host, self.model.now.plus(halves(lease)));
        let (clock, at) = (now(), self.model.now);
        for row in &events {
            let event = self.model.event_mut(row.id).unwrap();
            differs(event, row, at, clock)?;
            self.leases.push(Taken {
                lease: lease_of(row),
                aggregate: row.aggregate.clone(),
                event_type: row.event_type.clone(),
                number: row.attempt_count + 1,
            });
        }
        Ok(())
    }

    async fn extend(&mut self, leases: &[Pick], lease: Wait) -> Check {
        let leases = self.leases_of(leases);
        let found =
            self.world.store.extend(&leases, duration(lease)).await.map_err(|e| failed(&e))?;
        let until = self.model.now.plus(halves(lease));
        let expected = self.model.extend(&leases, until);
        self.same("extend", &found.into_iter().collect(), &expected)
    }

    async fn save_checkpoint(&mut self, lease: Pick) -> Check {
        let Some(taken) = self.taken(lease) else { return Ok(()) };
        let bytes = self.model.now.step.to_le_bytes();
        let found =
            self.world.store.save_checkpoint(taken.lease, &bytes).await.map_err(|e| failed(&e))?;
        let expected = self.model.save_checkpoint(taken.lease, &bytes);
        self.same("save_checkpoint", &found, &expected)
    }

    async fn settle(&mut self, verdicts: &[(Pick, Verdict)]) -> Check {
        let verdicts = verdicts.iter();
        let verdicts = verdicts.filter_map(|(pick, v)| Some((self.taken(*pick)?, *v))).collect();
        self.settle_these(verdicts).await
    }

    async fn settle_these(&mut self, verdicts: Vec<(Taken, Verdict)>) -> Check {
        let batch: Vec<_> = verdicts.iter().map(|(taken, v)| self.settlement(taken, *v)).collect();
        let asked = batch.iter().map(|(settlement, _)| settlement.clone()).collect();
        let found = self.world.store.settle(asked).await.map_err(|e| failed(&e))?;
        if found.len() != batch.len() {
            return Err(format!("{} answers for {} settlements", found.len(), batch.len()));
        }
        for ((settlement, wait), found) in batch.iter().zip(found) {
            let refusal = match &found {
                Settled::TransitionRefused(reason) => reason.text.clone(),
                Settled::Settled | Settled::LeaseLost => String::new(),
            };
            let number = settlement.attempt.number;
            let (lease, decision) = (settlement.lease, &settlement.decision);
            let expected = self.model.settle(lease, decision, *wait, number, &refusal);
            let what = match decision {
                Decision::Done(_) => "settle done",
                Decision::Retry { .. } => "settle retry",
                Decision::Defer { .. } => "settle defer",
                Decision::Postpone { .. } => "settle postpone",
                Decision::Fail(_) => "settle fail",
            };
            self.same(what, &found, &expected)?;
        }
        self.name_new_events().await
    }

    /// And the decision's wait, in halves.
    fn settlement(&self, taken: &Taken, verdict: Verdict) -> (Settlement, i64) {
        let step = self.model.now.step;
        let reason = format!("step {step}");
        let (decision, wait) = match verdict {
            Verdict::Done { detail, standing, follow_ups, misfit } => {
                let other = Aggregate::new("ORDER", "another").unwrap();
                let about = if misfit { &other } else { &taken.aggregate };
                let new = |_| NewEvent::due_now(about.clone(), event_type(1), "{}".into());
                let receipt = Receipt {
                    detail: detail.then(|| format!("{{\"step\": {step}}}")),
                    standing: standing.map(|standing| match standing {
                        Stands::Broadcasted => Standing::Broadcasted,
                        Stands::Failed => Standing::Failed { reason: "closed".into() },
                    }),
                    follow_ups: (0..follow_ups).map(new).collect(),
                };
                (Decision::Done(receipt), 0)
            }
            Verdict::Retry { after, unknown } => {
                let (wait, after) = (halves(after), duration(after));
                (Decision::Retry { after, reason, outcome_unknown: unknown }, wait)
            }
            Verdict::Defer { after } => (Decision::Defer { after: duration(after) }, halves(after)),
            Verdict::Postpone { after, unknown } => {
                let (wait, after) = (halves(after), duration(after));
                (Decision::Postpone { after, reason, outcome_unknown: unknown }, wait)
            }
            Verdict::Fail(code) => (Decision::Fail(FailureReason { code, text: reason }), 0),
        };
        let attempt = AttemptRecord {
            number: taken.number,
            plugin: "a-plugin".into(),
            release_digest: "abc".into(),
            started_at: now(),
            duration: Duration::from_millis(5),
        };
        let (aggregate, event_type) = (taken.aggregate.clone(), taken.event_type.clone());
        (Settlement { lease: taken.lease, aggregate, event_type, decision, attempt }, wait)
    }
}

/// What the jobs do.
impl Run<'_> {
    /// What a pass chose, which only the store knows if there was more than it may take: those
    /// whose status is this now. None: those that are no more.
    async fn chosen(
        &self,
        candidates: &Candidates,
        limit: u32,
        now: Option<EventStatus>,
    ) -> Result<Vec<EventId>, String> {
        let mut candidates = candidates.clone();
        candidates.sort_by_key(|(_, at)| *at);
        let mut chosen: Vec<_> = candidates.into_iter().map(|(id, _)| id).collect();
        if chosen.len() > limit as usize {
            let rows = self.world.store.events(&EventFilter::default(), ALL).await;
            let rows = rows.map_err(|e| failed(&e))?;
            let status: BTreeMap<_, _> = rows.iter().map(|e| (e.id, e.state.status())).collect();
            chosen.retain(|id| status.get(id).copied() == now);
        }
        Ok(chosen)
    }

    async fn promote(&mut self, limit: u32) -> Check {
        let candidates = self.model.due_again();
        let found = self.world.store.promote_due(limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, Some(EventStatus::Pending)).await?;
        self.same("promote_due", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.promote(&chosen);
        Ok(())
    }

    async fn take_over(&mut self, limit: u32) -> Check {
        let candidates = self.model.lost_leases();
        let found = self.world.store.take_over_lost_leases(limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, Some(EventStatus::Retrying)).await?;
        self.same("take_over_lost_leases", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.take_over(&chosen);
        Ok(())
    }

    async fn fail_hopeless(&mut self, interruptions_max: u32, limit: u32) -> Check {
        let why = |e| self.model.why_hopeless(e, interruptions_max).map(|code| (e.id, code));
        let codes: BTreeMap<_, _> = self.model.events.iter().filter_map(why).collect();
        let found = self.world.store.fail_hopeless(interruptions_max, limit).await;
        let found = found.map_err(|e| failed(&e))?;
        let candidates = codes.keys().map(|id| (*id, self.model.now)).collect();
        let chosen: Vec<_> = found.iter().map(|(id, _)| *id).collect();
        may_choose(&candidates, limit, &chosen)?;
        for (id, reason) in &found {
            self.same("fail_hopeless", &reason.code, &codes[id])?;
            self.model.fail(*id, reason, 0);
        }
        self.name_new_events().await
    }

    async fn delete_finished(&mut self, age: Wait, limit: u32) -> Check {
        let candidates = self.model.finished(halves(age));
        let found =
            self.world.store.delete_finished(duration(age), limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, None).await?;
        self.same("delete_finished", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.delete(&chosen);
        Ok(())
    }

    async fn delete_answers(&mut self, age: Wait, limit: u32) -> Check {
        let mut old = self.model.old_answers(halves(age));
        let found =
            self.world.store.delete_answers(duration(age), limit).await.map_err(|e| failed(&e))?;
        if old.len() > limit as usize {
            let left = self.texts("SELECT key FROM idempotency_keys").await;
            old.retain(|key| !left.contains(key));
            self.same("delete_answers", &old.len(), &(limit as usize))?;
        }
        self.same("delete_answers", &found, &(old.len() as u64))?;
        self.model.answers.retain(|key, _| !old.contains(key));
        Ok(())
    }
}

/// What operators do, and what a payment needs.
impl Run<'_> {
    async fn repair(&mut self, operation: &Operation) -> Check {
        let store = &self.world.store;
        match operation {
            Operation::Replay(n) => {
                let id = self.event(*n, |e| e.status() == EventStatus::Failed);
                let found = store.replay(id, "me").await.map_err(|e| failed(&e))?;
                let expected = self.model.replay(id, "me");
                self.same("replay", &found, &expected)
            }
            Operation::Skip(n) => {
                let id = self.event(*n, |e| e.status() == EventStatus::Failed);
                let found = store.skip(id, "gone").await.map_err(|e| failed(&e))?;
                let expected = self.model.skip(id, "gone");
                self.same("skip", &found, &expected)
            }
            Operation::Cancel(n) => {
                let id = self.event(*n, |e| e.state == State::Pending);
                let found = store.cancel(id, "wrong").await.map_err(|e| failed(&e))?;
                let expected = self.model.cancel(id, "wrong");
                self.same("cancel", &found, &expected)
            }
            other => Err(format!("{other:?} repairs nothing")),
        }
    }

    async fn sign(&mut self, lease: Pick, replace: bool) -> Check {
        let fits = |taken: &Taken| {
            taken.event_type.as_str() == BROADCAST && self.model.is_held(taken.lease)
        };
        let Some(taken) = picked(&self.leases, lease, fits) else { return Ok(()) };
        let newest = Pick { fitting: false, back: 0 };
        let withdrawal = taken.aggregate.as_withdrawal();
        let withdrawal = withdrawal.unwrap_or_else(|| self.withdrawal(newest));
        let request = SignPayment {
            lease: taken.lease,
            withdrawal,
            chain_id: 1,
            account: ACCOUNT.into(),
            replace,
        };
        let hash = format!("0x{:08x}", self.model.now.step);
        let signs = Signs(hash.clone());
        let found =
            match self.world.store.sign_payment(request, &signs).await.map_err(|e| failed(&e))? {
                Signing::Signed(t) => format!("signed {} {}", t.signed.hash, t.nonce),
                Signing::Stored(t) => format!("stored {} {}", t.signed.hash, t.nonce),
                Signing::Refused(why) => format!("refused: {why}"),
                Signing::LeaseLost => "lease lost".into(),
                Signing::NotLive(_) => "not live".into(),
            };
        let expected = self.model.sign(taken.lease, withdrawal, replace, &hash);
        self.same("sign", &found, &expected)
    }

    async fn conclude(&mut self, n: Pick, to: &[WithdrawalStatus]) -> Check {
        let id = self.withdrawal(n);
        let known = self.model.withdrawals.get(&id).cloned();
        let hash = known.as_ref().and_then(|w| w.signed.last().cloned());
        let tx_hash = hash.clone().unwrap_or_else(|| "0xc0".into());
        let step = |status: &WithdrawalStatus| match status {
            WithdrawalStatus::Requested => Step::Reopen,
            WithdrawalStatus::Broadcasted => Step::Broadcast(tx_hash.clone()),
            WithdrawalStatus::Confirmed => Step::Confirm(tx_hash.clone()),
            WithdrawalStatus::Failed if hash.is_none() => Step::Fail("given up".into()),
            WithdrawalStatus::Failed => Step::Revert(tx_hash.clone(), "reverted".into()),
        };
        let steps: Vec<_> = to.iter().map(step).collect();
        let transitions = steps.iter().cloned().map(transition).collect();
        let request = Conclude { withdrawal: id, transitions, evidence: "{}".into() };
        let found = self.world.store.conclude(request).await.map_err(|e| failed(&e))?;
        let found = match found {
            Concluded::Now { status, changed } => format!("{status} {changed}"),
            Concluded::NotFound => "not found".into(),
            Concluded::Refused(_) => "refused".into(),
        };
        let expected = match (&known, self.model.conclude(id, &steps)) {
            (None, _) => "not found".into(),
            (Some(_), None) => "refused".into(),
            (Some(_), Some(changed)) => {
                format!("{} {changed}", self.model.withdrawals[&id].status)
            }
        };
        self.same("conclude", &found, &expected)?;
        self.name_new_events().await
    }
}

fn transition(step: Step) -> Transition {
    match step {
        Step::Broadcast(tx_hash) => Transition::Broadcast { tx_hash },
        Step::Confirm(tx_hash) => Transition::Confirm { tx_hash },
        Step::Fail(reason) => Transition::Fail { reason },
        Step::Revert(tx_hash, reason) => Transition::Revert { tx_hash, reason },
        Step::Reopen => Transition::Reopen,
    }
}
