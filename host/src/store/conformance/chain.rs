use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, SYNC, World, done, lease, older, settlement};
use crate::domain::{
    BigUint, Decision, FailureCode, FailureReason, NewSignedTransaction, OutboxEvent, Receipt,
    SignedTransaction, SigningRefusal, SigningSituation, Standing, TransactionKind, Transition,
    Withdrawal, WithdrawalStatus,
};
use crate::store::{
    AccountChange, Conclude, Concluded, Settled, SignPayment, Signing, SigningRules, StoreError,
};

on_both_stores!(
    the_first_signature_binds_the_nonce_and_a_repeat_gives_the_stored_bytes,
    a_replacement_keeps_the_nonce,
    a_refusal_writes_nothing_and_uses_no_nonce_up,
    withdrawals_signed_at_once_get_nonces_without_a_gap,
    a_frozen_or_unknown_account_signs_nothing,
    without_the_lease_nothing_is_signed,
    a_refused_signature_hides_its_event_from_nobody,
    only_a_live_broadcast_of_an_open_withdrawal_signs,
    the_rules_see_what_else_is_in_flight,
    a_caller_that_goes_away_while_signing_undoes_it,
    a_withdrawal_that_is_being_signed_cannot_fail_meanwhile,
    signed_bytes_and_nonces_are_never_changed,
    broadcasted_takes_the_newest_hash,
    something_signed_keeps_a_withdrawal_from_failing,
    evidence_takes_a_withdrawal_through_every_step_once,
    a_refused_step_writes_nothing_of_the_others,
    open_payments_come_in_the_order_of_their_nonces,
    a_broadcast_is_requested_once_and_not_too_soon,
    registering_an_account_again_changes_nothing,
);

pub(super) const ACCOUNT: &str = "0xaa";

/// Signs whatever it is asked.
pub(super) struct Signer {
    asked: AtomicU32,
    seen: std::sync::Mutex<Vec<SigningSituation>>,
}

impl Signer {
    pub(super) fn new() -> Self {
        Self { asked: AtomicU32::new(0), seen: std::sync::Mutex::default() }
    }
}

#[async_trait]
impl SigningRules for Signer {
    async fn sign(
        &self,
        situation: &SigningSituation,
    ) -> Result<NewSignedTransaction, SigningRefusal> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        self.seen.lock().unwrap().push(situation.clone());
        Ok(NewSignedTransaction {
            hash: format!("0x{:032x}{n:04x}", situation.withdrawal.id.as_uuid().as_u128()),
            kind: TransactionKind::Payment,
            raw: vec![2, 0xf8, n.to_le_bytes()[0]],
            gas_limit: 21_000,
            fee_max_per_gas: 3 + u128::from(n),
            priority_fee_max_per_gas: 1,
            native_cost_max: BigUint::from(10_u32).pow(30) + BigUint::from(n),
            asset_units: BigUint::from(10_u32).pow(20),
        })
    }
}

struct Refuses;

#[async_trait]
impl SigningRules for Refuses {
    async fn sign(&self, _: &SigningSituation) -> Result<NewSignedTransaction, SigningRefusal> {
        Err(SigningRefusal::Wait { rule: "balance", reason: "too little".into() })
    }
}

struct NeverEnds;

#[async_trait]
impl SigningRules for NeverEnds {
    async fn sign(&self, _: &SigningSituation) -> Result<NewSignedTransaction, SigningRefusal> {
        std::future::pending().await
    }
}

/// Signs when it is told to.
#[derive(Default)]
pub(super) struct Waits {
    pub(super) begun: tokio::sync::Notify,
    pub(super) go: tokio::sync::Notify,
}

#[async_trait]
impl SigningRules for Waits {
    async fn sign(
        &self,
        situation: &SigningSituation,
    ) -> Result<NewSignedTransaction, SigningRefusal> {
        self.begun.notify_one();
        self.go.notified().await;
        Signer::new().sign(situation).await
    }
}

pub(super) fn request(event: &OutboxEvent, replace: bool) -> SignPayment {
    SignPayment {
        lease: lease(event),
        withdrawal: event.aggregate.as_withdrawal().unwrap(),
        chain_id: 1,
        account: ACCOUNT.into(),
        replace,
    }
}

pub(super) fn said(reason: &str) -> AccountChange<'_> {
    AccountChange { chain_id: 1, address: ACCOUNT, reason, by: "a test" }
}

pub(super) async fn registered(world: &World) {
    world.store.register_account(1, ACCOUNT, 7).await.unwrap();
}

pub(super) async fn broadcast_of(world: &World) -> (Withdrawal, OutboxEvent) {
    let withdrawal = world.accept().await;
    (withdrawal, world.claim_one(BROADCAST).await)
}

pub(super) async fn signed(world: &World, event: &OutboxEvent) -> SignedTransaction {
    let signing = world.store.sign_payment(request(event, false), &Signer::new()).await.unwrap();
    let Signing::Signed(transaction) = signing else { panic!("{signing:?}") };
    transaction
}

async fn next_nonce(world: &World) -> u64 {
    world.store.register_account(1, ACCOUNT, 0).await.unwrap().next_nonce
}

async fn the_first_signature_binds_the_nonce_and_a_repeat_gives_the_stored_bytes(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let signer = Signer::new();
    let first = world.store.sign_payment(request(&event, false), &signer).await.unwrap();
    let Signing::Signed(first) = first else { panic!("{first:?}") };
    assert_eq!((first.nonce, first.account.as_str()), (7, ACCOUNT));
    assert_eq!(signer.seen.lock().unwrap()[0].withdrawal, withdrawal);
    let again = world.store.sign_payment(request(&event, false), &signer).await.unwrap();
    assert_eq!(again, Signing::Stored(first.clone()));
    assert_eq!(signer.asked.load(Ordering::Relaxed), 1);
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    assert_eq!((payment.withdrawal, payment.transactions), (withdrawal, vec![first]));
    assert_eq!(next_nonce(world).await, 8);
}

async fn a_replacement_keeps_the_nonce(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let signer = Signer::new();
    for _ in 0..3 {
        world.store.sign_payment(request(&event, true), &signer).await.unwrap();
    }
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    let nonces: Vec<_> = payment.transactions.iter().map(|t| t.nonce).collect();
    assert_eq!(nonces, [7, 7, 7]);
    assert_eq!(signer.seen.lock().unwrap()[2].earlier, payment.transactions[..2]);
    assert_eq!(next_nonce(world).await, 8);
    let other = SignPayment { chain_id: 2, ..request(&event, true) };
    let refused = world.store.sign_payment(other, &signer).await.unwrap();
    assert!(matches!(refused, Signing::Refused(SigningRefusal::Refused { rule: "chain", .. })));
}

async fn a_refusal_writes_nothing_and_uses_no_nonce_up(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let refused = world.store.sign_payment(request(&event, false), &Refuses).await.unwrap();
    assert!(matches!(refused, Signing::Refused(SigningRefusal::Wait { rule: "balance", .. })));
    assert_eq!(next_nonce(world).await, 7);
    assert_eq!(world.count("withdrawal_nonces").await, 0);
    assert_eq!(world.store.payment(withdrawal.id).await.unwrap().unwrap().transactions, []);
    assert_eq!(signed(world, &event).await.nonce, 7);
}

async fn withdrawals_signed_at_once_get_nonces_without_a_gap(world: &World) {
    registered(world).await;
    for _ in 0..12 {
        world.accept().await;
    }
    let tasks: Vec<_> = world
        .claim(BROADCAST, 12)
        .await
        .into_iter()
        .enumerate()
        .map(|(n, event)| {
            let store = Arc::clone(&world.store);
            tokio::spawn(async move {
                if n % 4 == 0 {
                    store.sign_payment(request(&event, false), &Refuses).await.unwrap()
                } else {
                    store.sign_payment(request(&event, false), &Signer::new()).await.unwrap()
                }
            })
        })
        .collect();
    let mut nonces = Vec::new();
    for task in tasks {
        if let Signing::Signed(transaction) = task.await.unwrap() {
            nonces.push(transaction.nonce);
        }
    }
    nonces.sort_unstable();
    assert_eq!(nonces, (7..16).collect::<Vec<_>>());
}

async fn a_frozen_or_unknown_account_signs_nothing(world: &World) {
    let (_, event) = broadcast_of(world).await;
    let unknown = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    let rule = |signing: &Signing| match signing {
        Signing::Refused(SigningRefusal::Wait { rule, .. }) => *rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(&unknown), "account.unknown");
    assert_eq!(world.store.freeze_account(said("x")).await.unwrap(), None);
    registered(world).await;
    signed(world, &event).await;
    assert_eq!(world.store.freeze_account(said("a stranger's nonce")).await.unwrap(), Some(true));
    assert_eq!(world.store.freeze_account(said("later")).await.unwrap(), Some(false));
    let account = world.store.register_account(1, ACCOUNT, 0).await.unwrap();
    assert_eq!(account.frozen_reason.as_deref(), Some("a stranger's nonce"));
    // Neither a replacement nor a new payment; what is stored may still be sent.
    let replaced = world.store.sign_payment(request(&event, true), &Signer::new()).await.unwrap();
    assert_eq!(rule(&replaced), "account.frozen");
    let stored = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    assert!(matches!(stored, Signing::Stored(_)));
    let (_, event) = broadcast_of(world).await;
    let new = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    assert_eq!(rule(&new), "account.frozen");
}

async fn without_the_lease_nothing_is_signed(world: &World) {
    registered(world).await;
    let (_, event) = broadcast_of(world).await;
    let lost = SignPayment { lease: older(lease(&event)), ..request(&event, false) };
    let signing = world.store.sign_payment(lost, &Signer::new()).await.unwrap();
    assert_eq!(signing, Signing::LeaseLost);
    world.store.release(&[lease(&event)]).await.unwrap();
    let signing = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    assert_eq!(signing, Signing::LeaseLost);
    assert_eq!(world.count("signed_transactions").await, 0);
}

/// A lock that outlives the answer lets a take-over, which waits for nobody, pass the event over.
async fn a_refused_signature_hides_its_event_from_nobody(world: &World) {
    registered(world).await;
    for _ in 0..100 {
        let (_, event) = broadcast_of(world).await;
        world.age(2 * MINUTE).await;
        let signing = world.store.sign_payment(request(&event, false), &Refuses).await.unwrap();
        assert!(matches!(signing, Signing::Refused(_)), "{signing:?}");
        assert_eq!(world.store.take_over_lost_leases(10).await.unwrap(), 1);
    }
}

async fn only_a_live_broadcast_of_an_open_withdrawal_signs(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let (other, _) = broadcast_of(world).await;
    let sync = world.claim(SYNC, 1).await.remove(0);
    let elsewhere = SignPayment { withdrawal: other.id, ..request(&event, false) };
    let fail = vec![Transition::Fail { reason: "no".into() }];
    for (asked, before) in
        [(request(&sync, false), false), (elsewhere, false), (request(&event, false), true)]
    {
        if before {
            conclude(world, &withdrawal, fail.clone()).await;
        }
        let signing = world.store.sign_payment(asked, &Signer::new()).await.unwrap();
        assert!(matches!(signing, Signing::NotLive(_)), "{signing:?}");
    }
    assert_eq!(world.count("signed_transactions").await, 0);
}

async fn the_rules_see_what_else_is_in_flight(world: &World) {
    registered(world).await;
    let signer = Signer::new();
    let (first, event) = broadcast_of(world).await;
    for replace in [false, true] {
        world.store.sign_payment(request(&event, replace), &signer).await.unwrap();
    }
    let (_, event) = broadcast_of(world).await;
    world.store.sign_payment(request(&event, false), &signer).await.unwrap();
    let ten = |power| BigUint::from(10_u32).pow(power);
    {
        let seen = signer.seen.lock().unwrap();
        assert_eq!(seen[0].in_flight_native, BigUint::ZERO);
        // Of the two that have one nonce, the dearer counts.
        assert_eq!(seen[2].in_flight_native, ten(30) + BigUint::from(1_u32));
        assert_eq!(seen[2].in_flight_asset, ten(20));
        assert_eq!(seen[2].fees_of_the_day, BigUint::from(21_000_u32 * 4));
    }
    let hash = payment_hash(world, &first).await;
    let steps =
        [Transition::Broadcast { tx_hash: hash.clone() }, Transition::Confirm { tx_hash: hash }];
    conclude(world, &first, steps.to_vec()).await;
    world.age(Duration::from_secs(24 * 60 * 60)).await;
    let (_, event) = broadcast_of(world).await;
    world.store.sign_payment(request(&event, false), &signer).await.unwrap();
    let seen = signer.seen.lock().unwrap();
    assert_eq!(seen[3].in_flight_native, ten(30) + BigUint::from(2_u32));
    assert_eq!(seen[3].fees_of_the_day, BigUint::ZERO);
}

async fn a_caller_that_goes_away_while_signing_undoes_it(world: &World) {
    registered(world).await;
    let (_, event) = broadcast_of(world).await;
    let store = Arc::clone(&world.store);
    let asked = request(&event, false);
    let task = tokio::spawn(async move { store.sign_payment(asked, &NeverEnds).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    task.abort();
    assert_eq!(signed(world, &event).await.nonce, 7);
    assert_eq!(world.count("signed_transactions").await, 1);
}

async fn a_withdrawal_that_is_being_signed_cannot_fail_meanwhile(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let rules = Waits::default();
    let fail = vec![Transition::Fail { reason: "no".into() }];
    let signing = world.store.sign_payment(request(&event, false), &rules);
    let failing = async {
        // If nothing is signed, nobody would ever say so.
        tokio::time::timeout(MINUTE, rules.begun.notified()).await.unwrap();
        let failing = conclude(world, &withdrawal, fail);
        tokio::pin!(failing);
        // It waits for the signature, and then sees it.
        let early = tokio::time::timeout(Duration::from_millis(200), &mut failing).await;
        assert!(early.is_err(), "{early:?}");
        rules.go.notify_one();
        failing.await
    };
    let (signing, failing) = tokio::join!(signing, failing);
    assert!(matches!(signing.unwrap(), Signing::Signed(_)));
    assert!(matches!(failing, Concluded::Refused(_)), "{failing:?}");
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
}

async fn signed_bytes_and_nonces_are_never_changed(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let transaction = signed(world, &event).await;
    for statement in [
        "UPDATE signed_transactions SET kind = 'CLOSING'",
        "DELETE FROM signed_transactions",
        "UPDATE withdrawal_nonces SET nonce = 9",
        "DELETE FROM withdrawal_nonces",
        // A second nonce for the withdrawal, and its nonce for another.
        "INSERT INTO signed_transactions (withdrawal_id, chain_id, account, nonce, hash, kind, \
         raw, gas_limit, fee_max_per_gas, priority_fee_max_per_gas, native_cost_max, \
         asset_units, signed_at) SELECT withdrawal_id, chain_id, account, nonce + 1, '0x99', \
         kind, raw, gas_limit, fee_max_per_gas, priority_fee_max_per_gas, native_cost_max, \
         asset_units, signed_at FROM signed_transactions",
        "INSERT INTO withdrawal_nonces (withdrawal_id, chain_id, account, nonce, created_at) \
         SELECT withdrawal_id, chain_id, account, nonce + 1, created_at FROM withdrawal_nonces",
    ] {
        assert!(world.execute(statement).await.is_err(), "{statement}");
    }
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(payment.transactions, [transaction]);
}

async fn payment_hash(world: &World, withdrawal: &Withdrawal) -> String {
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    payment.transactions.last().unwrap().signed.hash.clone()
}

pub(super) fn broadcasted() -> Decision {
    Decision::Done(Receipt { standing: Some(Standing::Broadcasted), ..Receipt::default() })
}

async fn broadcasted_takes_the_newest_hash(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let signer = Signer::new();
    for replace in [false, true] {
        world.store.sign_payment(request(&event, replace), &signer).await.unwrap();
    }
    assert_eq!(world.settle_one(&event, broadcasted()).await, Settled::Settled);
    let now = world.store.withdrawal(withdrawal.id).await.unwrap().unwrap();
    let hash = payment_hash(world, &withdrawal).await;
    assert_eq!(now.state.tx_hash(), Some(hash.as_str()));
    let events = world.events_of(withdrawal.id).await;
    assert_eq!(events[3..], ["WITHDRAWAL_BROADCASTED PENDING", "PARTNER_SYNC_REQUESTED PENDING"]);
    // Again for a replacement: the hash follows, and nobody is told twice.
    assert!(world.store.request_broadcast(withdrawal.id, Duration::ZERO).await.unwrap());
    let event = world.claim_one(BROADCAST).await;
    world.store.sign_payment(request(&event, true), &signer).await.unwrap();
    assert_eq!(world.settle_one(&event, broadcasted()).await, Settled::Settled);
    let now = world.store.withdrawal(withdrawal.id).await.unwrap().unwrap();
    assert_ne!(now.state.tx_hash(), Some(hash.as_str()));
    assert_eq!(world.events_of(withdrawal.id).await.len(), 6);
}

async fn something_signed_keeps_a_withdrawal_from_failing(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    signed(world, &event).await;
    let fail = Transition::Fail { reason: "no".into() };
    let refused = conclude(world, &withdrawal, vec![fail]).await;
    assert!(matches!(refused, Concluded::Refused(_)), "{refused:?}");
    let failed = Standing::Failed { reason: "no".into() };
    let receipt = Receipt { standing: Some(failed), ..Receipt::default() };
    let settled = world.settle_one(&event, Decision::Done(receipt)).await;
    assert!(matches!(settled, Settled::TransitionRefused(_)));
    world.store.replay(event.id, "me").await.unwrap();
    let event = world.claim_one(BROADCAST).await;
    let no = FailureReason { code: FailureCode::AttemptsExhausted, text: "no".into() };
    let settled = world.store.settle(vec![settlement(&event, Decision::Fail(no))]).await.unwrap();
    assert_eq!(settled, [Settled::Settled]);
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    assert_eq!(world.count("withdrawal_transitions").await, 0);
}

pub(super) async fn conclude(
    world: &World,
    of: &Withdrawal,
    transitions: Vec<Transition>,
) -> Concluded {
    let evidence = "{\"block\": 5}".to_owned();
    let request = Conclude { withdrawal: of.id, transitions, evidence, watch: None };
    world.store.conclude(request).await.unwrap()
}

async fn evidence_takes_a_withdrawal_through_every_step_once(world: &World) {
    let withdrawal = world.accept().await;
    let steps = || {
        vec![
            Transition::Broadcast { tx_hash: "0xa".into() },
            Transition::Confirm { tx_hash: "0xa".into() },
        ]
    };
    let now = |changed| Concluded::Now { status: WithdrawalStatus::Confirmed, changed };
    assert_eq!(conclude(world, &withdrawal, steps()).await, now(true));
    let first = world.store.timeline(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(conclude(world, &withdrawal, steps()).await, now(false));
    assert_eq!(world.store.timeline(withdrawal.id).await.unwrap().unwrap(), first);
    let states: Vec<_> = first.transitions.iter().map(|t| (t.from, t.to)).collect();
    assert_eq!(
        states,
        [
            (None, WithdrawalStatus::Requested),
            (Some(WithdrawalStatus::Requested), WithdrawalStatus::Broadcasted),
            (Some(WithdrawalStatus::Broadcasted), WithdrawalStatus::Confirmed)
        ]
    );
    assert_eq!(first.transitions[2].evidence.as_deref(), Some("{\"block\": 5}"));
    // All belong to the trace that the withdrawal began in.
    let traces = first.events.iter().map(|event| event.event.traceparent.as_deref());
    assert_eq!(traces.collect::<HashSet<_>>(), [Some("00-ab-cd-01")].into());
    assert_eq!(
        world.events_of(withdrawal.id).await[3..],
        [
            "WITHDRAWAL_BROADCASTED PENDING",
            "PARTNER_SYNC_REQUESTED PENDING",
            "WITHDRAWAL_CONFIRMED PENDING",
            "PARTNER_SYNC_REQUESTED PENDING",
        ]
    );
}

async fn a_refused_step_writes_nothing_of_the_others(world: &World) {
    let withdrawal = world.accept().await;
    let steps = vec![
        Transition::Broadcast { tx_hash: "0xa".into() },
        Transition::Fail { reason: "no".into() },
    ];
    let refused = conclude(world, &withdrawal, steps).await;
    assert!(matches!(refused, Concluded::Refused(_)), "{refused:?}");
    assert_eq!(world.store.withdrawal(withdrawal.id).await.unwrap(), Some(withdrawal));
    assert_eq!(world.count("outbox_events").await, 3);
    let nobody = super::world::acceptance("x").withdrawal;
    assert_eq!(conclude(world, &nobody, vec![]).await, Concluded::NotFound);
}

async fn open_payments_come_in_the_order_of_their_nonces(world: &World) {
    registered(world).await;
    let mut expected = Vec::new();
    for _ in 0..4 {
        let (withdrawal, event) = broadcast_of(world).await;
        signed(world, &event).await;
        expected.push(withdrawal.id);
    }
    world.accept().await;
    let second = world.store.withdrawal(expected[1]).await.unwrap().unwrap();
    let steps = vec![
        Transition::Broadcast { tx_hash: "0xa".into() },
        Transition::Revert { tx_hash: "0xa".into(), reason: "reverted".into() },
    ];
    conclude(world, &second, steps).await;
    expected.remove(1);
    let page = world.store.open_payments(1, None, 2).await.unwrap();
    let ids = |page: &[crate::domain::Payment]| -> Vec<_> {
        page.iter().map(|p| p.withdrawal.id).collect()
    };
    assert_eq!(ids(&page), expected[..2]);
    let last = &page[1].transactions[0];
    let after = Some((last.account.clone(), last.nonce));
    let page = world.store.open_payments(1, after, 2).await.unwrap();
    assert_eq!(ids(&page), expected[2..]);
    assert_eq!(world.store.open_payments(2, None, 2).await.unwrap(), []);
}

async fn a_broadcast_is_requested_once_and_not_too_soon(world: &World) {
    let (withdrawal, event) = broadcast_of(world).await;
    let ask = |not_within| world.store.request_broadcast(withdrawal.id, not_within);
    assert!(!ask(Duration::ZERO).await.unwrap());
    world.settle_one(&event, done()).await;
    assert!(!ask(MINUTE).await.unwrap());
    world.age(2 * MINUTE).await;
    let both = tokio::join!(ask(MINUTE), ask(MINUTE));
    assert!(both.0.unwrap() != both.1.unwrap());
    let again = world.claim_one(BROADCAST).await;
    assert_eq!((again.aggregate, again.traceparent), (event.aggregate, event.traceparent));
    let nobody = super::world::acceptance("x").withdrawal.id;
    assert!(!world.store.request_broadcast(nobody, Duration::ZERO).await.unwrap());
    let (failed, event) = broadcast_of(world).await;
    let no = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&event, Decision::Fail(no)).await;
    assert_eq!(world.status(failed.id).await, "FAILED");
    assert!(!world.store.request_broadcast(failed.id, Duration::ZERO).await.unwrap());
}

async fn registering_an_account_again_changes_nothing(world: &World) {
    let first = world.store.register_account(1, ACCOUNT, 7).await.unwrap();
    let again = world.store.register_account(1, ACCOUNT, 99).await.unwrap();
    assert_eq!((first.next_nonce, &again), (7, &first));
    let beyond = world.store.register_account(u64::MAX, ACCOUNT, 0).await;
    assert!(matches!(beyond, Err(StoreError::Conflict { .. })));
}
