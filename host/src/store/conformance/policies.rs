//! Policies before signing: what they hold, under concurrency, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use super::chain::{Signer, conclude, request, signed};
use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, World, acceptance, retry_after};
use crate::domain::{
    AmountRule, ApprovalRule, AssetScope, DestinationRule, EventState, ExternalAnswer,
    ExternalRule, FreezeSubject, OutboxEvent, Policies, PolicyOutcome, PolicyRules, Receipt,
    SigningRefusal, Standing, Transition, WindowRule, WindowScope, Withdrawal, WithdrawalId,
    facts_digest, policy_rule,
};
use crate::store::{
    Accepted, Approver, ControlChange, ControlNote, NoApproval, SignPayment, Signing, Store,
    StoreOptions, WithdrawalApproved, WithdrawalRejected, open,
};

on_both_stores!(
    a_window_lets_exactly_its_sum_through_however_many_ask_at_once,
    a_window_adds_up_what_is_its_own_and_nothing_else,
    what_is_in_flight_counts_and_what_failed_does_not,
    a_decision_is_kept_once_and_what_it_stops_binds_no_nonce,
    approvals_are_counted_by_person_and_bound_to_version_and_time,
    who_asked_does_not_approve,
    an_approval_and_a_lifted_freeze_wake_what_waits,
    what_is_frozen_gets_no_signature_and_no_replacement,
    a_freeze_waits_for_signatures_that_it_did_not_stop,
    a_new_destination_cools_off_unless_it_was_paid_before,
    an_external_yes_holds_for_its_time_and_its_facts_and_a_no_for_ever,
    a_wait_is_noted_once_and_ends_with_the_signature_or_the_withdrawal,
    what_was_signed_for_cannot_be_rejected,
    what_was_said_about_a_payment_is_never_changed,
);

const ACCOUNTS: [&str; 2] = ["0xaa", "0xbb"];
const HOUR: Duration = Duration::from_secs(3_600);
const NOTE: ControlNote<'_> = ControlNote { reason: "because", by: "ops" };

fn eth() -> AssetScope {
    AssetScope { asset: "ETH".into(), network: None }
}

fn window(per: WindowScope, sum_max: &str) -> WindowRule {
    WindowRule { per, scope: eth(), window: HOUR, sum_max: sum_max.parse().unwrap() }
}

fn windows(windows: &[WindowRule]) -> PolicyRules {
    PolicyRules { windows: windows.to_vec(), ..PolicyRules::default() }
}

fn approvals(above: &str, approvals: u32, approvers: &[&str]) -> PolicyRules {
    let rule = ApprovalRule {
        scope: eth(),
        above: above.parse().unwrap(),
        approvals,
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
    };
    PolicyRules { approvals: vec![rule], approval_ttl: HOUR, ..PolicyRules::default() }
}

/// Another host on the same store, with these rules.
async fn host(world: &World, rules: &PolicyRules) -> Arc<dyn Store> {
    let options =
        StoreOptions { policies: Policies::new(rules.clone()), ..StoreOptions::default() };
    open(&world.url, options).await.unwrap()
}

async fn register(world: &World) {
    for account in ACCOUNTS {
        world.store.register_account(1, account, 7).await.unwrap();
    }
}

/// Accepts a withdrawal that differs from the usual one.
async fn accept_as(world: &World, change: impl FnOnce(&mut Withdrawal)) -> Withdrawal {
    let mut request = acceptance("key");
    change(&mut request.withdrawal);
    let withdrawal = request.withdrawal.clone();
    request.events = crate::domain::Flow::default().events(&withdrawal, None);
    request.idempotency.key = withdrawal.id.to_string();
    let accepted = world.store.accept_withdrawal(request).await.unwrap();
    assert_eq!(accepted, Accepted::Created);
    withdrawal
}

async fn broadcast_of(world: &World) -> (Withdrawal, OutboxEvent) {
    let withdrawal = world.accept().await;
    (withdrawal, world.claim_one(BROADCAST).await)
}

async fn sign(host: &Arc<dyn Store>, event: &OutboxEvent, account: &str) -> Signing {
    let request = SignPayment { account: account.into(), ..request(event, false) };
    host.sign_payment(request, &Signer::new()).await.unwrap()
}

/// The rule that stands against a signature; none if it was made.
async fn stopped(host: &Arc<dyn Store>, event: &OutboxEvent) -> Option<(&'static str, bool)> {
    rule_of(sign(host, event, ACCOUNTS[0]).await)
}

/// The rule, and whether it is for ever.
fn rule_of(signing: Signing) -> Option<(&'static str, bool)> {
    match signing {
        Signing::Signed(_) => None,
        Signing::Refused(SigningRefusal::Wait { rule, .. }) => Some((rule, false)),
        Signing::Refused(SigningRefusal::Refused { rule, .. }) => Some((rule, true)),
        other => panic!("{other:?}"),
    }
}

const fn waits(rule: &'static str) -> Option<(&'static str, bool)> {
    Some((rule, false))
}

async fn a_window_lets_exactly_its_sum_through_however_many_ask_at_once(world: &World) {
    // Each of 100 is 1.5, and so 20 fit into 30, and 31 leaves room for no more.
    for (per, sum_max, fit) in [
        (WindowScope::Network, "30", 20),
        (WindowScope::User, "31", 20),
        (WindowScope::Account, "30", 40),
    ] {
        register(world).await;
        let rules = windows(&[window(per, sum_max), window(WindowScope::Network, "1000")]);
        let hosts = [host(world, &rules).await, host(world, &rules).await];
        for _ in 0..100 {
            world.accept().await;
        }
        let events = world.claim(BROADCAST, 100).await;
        assert_eq!(events.len(), 100);
        let asked: Vec<_> = events
            .into_iter()
            .enumerate()
            .map(|(n, event)| {
                let host = Arc::clone(&hosts[n % 2]);
                tokio::spawn(async move { sign(&host, &event, ACCOUNTS[n / 2 % 2]).await })
            })
            .collect();
        let mut passed = 0;
        for asked in asked {
            match rule_of(asked.await.unwrap()) {
                None => passed += 1,
                other => assert_eq!(other, waits(policy_rule::WINDOW)),
            }
        }
        assert_eq!(passed, fit, "{per:?}");
        assert_eq!(world.count("withdrawal_nonces").await, fit);
        assert_eq!(world.count("policy_decisions WHERE outcome = 'ALLOW'").await, fit);
        assert_eq!(world.count("policy_decisions WHERE outcome = 'WAIT'").await, 100 - fit);
        for host in hosts {
            host.close().await;
        }
        // The next one begins with an empty window.
        world.execute("UPDATE withdrawals SET asset = 'OLD'").await.unwrap();
        world.let_go_of_what_is_append_only().await;
        world.execute("DELETE FROM policy_decisions").await.unwrap();
        world.execute("DELETE FROM signed_transactions").await.unwrap();
        world.execute("DELETE FROM withdrawal_nonces").await.unwrap();
    }
}

async fn a_window_adds_up_what_is_its_own_and_nothing_else(world: &World) {
    register(world).await;
    let named = AssetScope { network: Some("eip155:2".parse().unwrap()), ..eth() };
    let rules = windows(&[
        window(WindowScope::User, "3"),
        WindowRule { scope: named, ..window(WindowScope::Network, "2") },
    ]);
    let host = host(world, &rules).await;
    let sign_as = async |change: fn(&mut Withdrawal)| {
        accept_as(world, change).await;
        let event = world.claim_one(BROADCAST).await;
        stopped(&host, &event).await
    };
    assert_eq!(sign_as(|_| ()).await, None);
    assert_eq!(sign_as(|w| w.request.user_id = "user-2".into()).await, None);
    assert_eq!(sign_as(|w| w.request.asset = "USDC".into()).await, None);
    // A user's window holds what they have on all networks.
    let elsewhere = |w: &mut Withdrawal| w.request.network = "eip155:2".parse().unwrap();
    assert_eq!(sign_as(elsewhere).await, None);
    assert_eq!(sign_as(|_| ()).await, waits(policy_rule::WINDOW));
    assert_eq!(sign_as(elsewhere).await, waits(policy_rule::WINDOW));
    let third = |w: &mut Withdrawal| {
        w.request.user_id = "user-3".into();
        w.request.network = "eip155:2".parse().unwrap();
    };
    assert_eq!(sign_as(third).await, waits(policy_rule::WINDOW), "1.5 are on that network");
    assert_eq!(sign_as(|w| w.request.user_id = "user-3".into()).await, None);
    host.close().await;
}

/// Takes a withdrawal that was signed for to its end.
async fn end(world: &World, withdrawal: &Withdrawal, end: Transition) {
    let sent = Transition::Broadcast { tx_hash: "0xa".into() };
    conclude(world, withdrawal, vec![sent, end]).await;
}

async fn what_is_in_flight_counts_and_what_failed_does_not(world: &World) {
    register(world).await;
    let host = host(world, &windows(&[window(WindowScope::Network, "2")])).await;
    let full = waits(policy_rule::WINDOW);
    let (first, event) = broadcast_of(world).await;
    assert_eq!(stopped(&host, &event).await, None);
    let (second, event) = broadcast_of(world).await;
    assert_eq!(stopped(&host, &event).await, full);
    world.age(2 * HOUR).await;
    assert_eq!(stopped(&host, &event).await, full, "in flight, however old");
    end(world, &first, Transition::Confirm { tx_hash: "0xa".into() }).await;
    assert_eq!(stopped(&host, &event).await, full, "paid just now");
    world.age(HOUR + MINUTE).await;
    assert_eq!(stopped(&host, &event).await, None);
    let reverted = Transition::Revert { tx_hash: "0xa".into(), reason: "reverted".into() };
    let (_, event) = broadcast_of(world).await;
    assert_eq!(stopped(&host, &event).await, full);
    end(world, &second, reverted).await;
    assert_eq!(stopped(&host, &event).await, None, "what failed was not paid");
    host.close().await;
}

async fn a_decision_is_kept_once_and_what_it_stops_binds_no_nonce(world: &World) {
    register(world).await;
    let small = AmountRule { scope: eth(), amount_max: "1".parse().unwrap() };
    let denying = PolicyRules { amounts: vec![small], ..PolicyRules::default() };
    let full = windows(&[window(WindowScope::User, "1.5")]);
    let (denying, waiting) = (host(world, &denying).await, host(world, &full).await);
    let (first, event) = broadcast_of(world).await;
    for _ in 0..2 {
        assert_eq!(stopped(&denying, &event).await, Some((policy_rule::AMOUNT, true)));
    }
    assert_eq!(stopped(&waiting, &event).await, None);
    let (second, event) = broadcast_of(world).await;
    for _ in 0..3 {
        assert_eq!(stopped(&waiting, &event).await, waits(policy_rule::WINDOW));
    }
    assert_eq!(world.count("withdrawal_nonces").await, 1);
    let kept = async |id| world.store.policy_decisions(id).await.unwrap();
    let of_first = kept(first.id).await;
    let outcomes: Vec<_> = of_first.iter().map(|it| (it.outcome, it.rule.as_str())).collect();
    assert_eq!(
        outcomes,
        [(PolicyOutcome::Deny, policy_rule::AMOUNT), (PolicyOutcome::Allow, policy_rule::NONE)]
    );
    assert_eq!(of_first[1].policy_version, Policies::new(full).version());
    assert_ne!(of_first[0].policy_version, of_first[1].policy_version);
    assert_eq!(of_first[1].account, ACCOUNTS[0]);
    let of_second = kept(second.id).await;
    assert_eq!(of_second.len(), 1, "it said the same each time: {of_second:?}");
    let figures: serde_json::Value = serde_json::from_str(&of_second[0].figures).unwrap();
    assert_eq!(figures, serde_json::json!({"amount": "1.5", "spent_by_user": "1.5"}));
    // Without policies nothing is decided, and nothing kept.
    let (third, event) = broadcast_of(world).await;
    signed(world, &event).await;
    assert_eq!(kept(third.id).await, []);
    denying.close().await;
    waiting.close().await;
}

fn by(name: &str) -> Approver<'_> {
    Approver { name, reason: "called them", may_submit: false }
}

async fn approve(host: &Arc<dyn Store>, id: WithdrawalId, name: &str) -> WithdrawalApproved {
    host.approve_withdrawal(id, by(name)).await.unwrap()
}

async fn approvals_are_counted_by_person_and_bound_to_version_and_time(world: &World) {
    register(world).await;
    let rules = approvals("1", 2, &["ann", "bob", "cem"]);
    let first = host(world, &rules).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let lacks = waits(policy_rule::APPROVALS);
    assert_eq!(stopped(&first, &event).await, lacks);
    let WithdrawalApproved::Now(one) = approve(&first, withdrawal.id, "ann").await else {
        panic!("not approved")
    };
    assert_eq!(one.expires_at - one.approved_at, chrono::Duration::hours(1));
    assert_eq!(approve(&first, withdrawal.id, "ann").await, WithdrawalApproved::Already(one));
    let nobody = NoApproval::NotNamed("dan".into());
    assert_eq!(approve(&first, withdrawal.id, "dan").await, WithdrawalApproved::Refused(nobody));
    assert_eq!(stopped(&first, &event).await, lacks, "one person is one");
    world.age(HOUR - MINUTE).await;
    assert!(matches!(approve(&first, withdrawal.id, "bob").await, WithdrawalApproved::Now(_)));
    world.age(2 * MINUTE).await;
    assert_eq!(stopped(&first, &event).await, lacks, "ann's has expired");
    // Other rules are other approvals.
    let stricter = host(world, &approvals("1.2", 1, &["bob"])).await;
    assert_eq!(stopped(&stricter, &event).await, lacks);
    assert!(matches!(approve(&first, withdrawal.id, "cem").await, WithdrawalApproved::Now(_)));
    assert_eq!(stopped(&stricter, &event).await, lacks);
    assert_eq!(stopped(&first, &event).await, None);
    assert_eq!(
        approve(&first, withdrawal.id, "ann").await,
        WithdrawalApproved::Refused(NoApproval::Signed)
    );
    let all = world.store.approvals_of(withdrawal.id).await.unwrap();
    assert_eq!(
        all.iter().map(|it| it.approver.as_str()).collect::<Vec<_>>(),
        ["ann", "bob", "cem"]
    );
    // What was meant for another payment is none for this one.
    let (other, event) = broadcast_of(world).await;
    for name in ["ann", "bob"] {
        approve(&first, other.id, name).await;
    }
    world
        .execute("UPDATE withdrawals SET amount = '1.6' WHERE status = 'REQUESTED'")
        .await
        .unwrap();
    assert_eq!(stopped(&first, &event).await, lacks);
    for host in [first, stricter] {
        host.close().await;
    }
}

async fn who_asked_does_not_approve(world: &World) {
    let host = host(world, &approvals("1", 1, &[])).await;
    let withdrawal = world.accept().await;
    let refused = async |id, approver| host.approve_withdrawal(id, approver).await.unwrap();
    // The test's callers hand in as "caller".
    assert_eq!(
        refused(withdrawal.id, by("caller")).await,
        WithdrawalApproved::Refused(NoApproval::Requester)
    );
    let small = accept_as(world, |w| w.request.amount = "1".parse().unwrap()).await;
    assert_eq!(
        refused(small.id, by("ann")).await,
        WithdrawalApproved::Refused(NoApproval::NotNeeded)
    );
    // A binary before this one noted nobody: then it may have been anybody who hands in.
    world.execute("UPDATE withdrawals SET requested_by = NULL").await.unwrap();
    let perhaps = Approver { may_submit: true, ..by("ann") };
    assert_eq!(
        refused(withdrawal.id, perhaps).await,
        WithdrawalApproved::Refused(NoApproval::PerhapsRequester)
    );
    assert!(matches!(refused(withdrawal.id, by("ann")).await, WithdrawalApproved::Now(_)));
    assert_eq!(refused(WithdrawalId::generate(), by("ann")).await, WithdrawalApproved::NotFound);
    host.close().await;
}

/// Puts a broadcast off for an hour, as a plugin does that is told to wait.
async fn put_off(world: &World, event: &OutboxEvent) {
    world.settle_one(event, retry_after(HOUR)).await;
    let EventState::Retrying { next_retry_at } = world.row(event.id).await.state else {
        panic!("not put off")
    };
    assert!(next_retry_at > chrono::Utc::now() + MINUTE);
}

async fn is_due(world: &World, event: &OutboxEvent) -> bool {
    match world.row(event.id).await.state {
        EventState::Retrying { next_retry_at } => next_retry_at <= chrono::Utc::now() + MINUTE / 2,
        other => panic!("{other:?}"),
    }
}

async fn an_approval_and_a_lifted_freeze_wake_what_waits(world: &World) {
    register(world).await;
    let host = host(world, &approvals("1", 1, &[])).await;
    let (withdrawal, event) = broadcast_of(world).await;
    put_off(world, &event).await;
    approve(&host, withdrawal.id, "ann").await;
    assert!(is_due(world, &event).await);
    world.execute("DELETE FROM outbox_events").await.unwrap();

    let (frozen, _) = host.freeze(&FreezeSubject::All, NOTE).await.unwrap();
    let (held, event) = broadcast_of(world).await;
    put_off(world, &event).await;
    host.note_wait(held.id, policy_rule::FREEZE, "frozen").await.unwrap();
    let (poor, other) = broadcast_of(world).await;
    put_off(world, &other).await;
    host.note_wait(poor.id, "balance", "too little").await.unwrap();
    host.lift_freeze(frozen.id, NOTE).await.unwrap();
    assert!(is_due(world, &event).await);
    assert!(!is_due(world, &other).await, "it waits for something else");
    host.close().await;
}

async fn what_is_frozen_gets_no_signature_and_no_replacement(world: &World) {
    register(world).await;
    let held = waits(policy_rule::FREEZE);
    let (withdrawal, event) = broadcast_of(world).await;
    let asset = |network: Option<&str>| FreezeSubject::Asset {
        asset: "ETH".into(),
        network: network.map(|network| network.parse().unwrap()),
    };
    let freeze = async |subject| world.store.freeze(&subject, NOTE).await.unwrap();
    for other in [
        FreezeSubject::User("user-2".into()),
        FreezeSubject::Withdrawal(WithdrawalId::generate()),
        FreezeSubject::Asset { asset: "USDC".into(), network: None },
        asset(Some("eip155:2")),
    ] {
        freeze(other).await;
    }
    for subject in [
        FreezeSubject::All,
        FreezeSubject::User("user-1".into()),
        FreezeSubject::Withdrawal(withdrawal.id),
        asset(None),
        asset(Some("eip155:1")),
    ] {
        let (frozen, change) = freeze(subject.clone()).await;
        assert_eq!((&frozen.subject, change), (&subject, ControlChange::Changed));
        assert_eq!(freeze(subject).await, (frozen.clone(), ControlChange::Already));
        assert_eq!(stopped(&world.store, &event).await, held, "{:?}", frozen.subject);
        let lift = async || world.store.lift_freeze(frozen.id, NOTE).await.unwrap();
        assert_eq!(lift().await, Some(ControlChange::Changed));
        assert_eq!(lift().await, Some(ControlChange::Already));
    }
    assert_eq!(world.store.lift_freeze(999, NOTE).await.unwrap(), None);
    assert_eq!(world.store.freezes().await.unwrap().len(), 4);
    let signer = Signer::new();
    let sign_again =
        async |replace| world.store.sign_payment(request(&event, replace), &signer).await.unwrap();
    let Signing::Signed(stored) = sign_again(false).await else { panic!("not signed") };
    let (frozen, _) = freeze(FreezeSubject::User("user-1".into())).await;
    // What is signed is handed out: it may be mined anyhow.
    assert_eq!(sign_again(false).await, Signing::Stored(stored));
    assert_eq!(rule_of(sign_again(true).await), held);
    world.store.lift_freeze(frozen.id, NOTE).await.unwrap();
    assert_eq!(rule_of(sign_again(true).await), None);
}

async fn a_freeze_waits_for_signatures_that_it_did_not_stop(world: &World) {
    register(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let waiting = Arc::new(super::chain::Waits::default());
    let (store, rules) = (Arc::clone(&world.store), Arc::clone(&waiting));
    let request = request(&event, false);
    let signing = tokio::spawn(async move { store.sign_payment(request, &*rules).await });
    waiting.begun.notified().await;
    let store = Arc::clone(&world.store);
    let mut freezing = tokio::spawn(async move { store.freeze(&FreezeSubject::All, NOTE).await });
    // Without an answer for as long as it likes to wait: there is a signature on its way.
    assert!(tokio::time::timeout(MINUTE / 300, &mut freezing).await.is_err());
    waiting.go.notify_one();
    assert!(matches!(signing.await.unwrap().unwrap(), Signing::Signed(_)));
    freezing.await.unwrap().unwrap();
    // Whoever was told that it is frozen sees all that was signed before.
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(payment.transactions.len(), 1);
}

async fn a_new_destination_cools_off_unless_it_was_paid_before(world: &World) {
    register(world).await;
    let rule = DestinationRule {
        network: "eip155:1".parse().unwrap(),
        allow: None,
        deny: ["0x00000000000000000000000000000000000000aa".to_owned()].into(),
        cooling_off: HOUR,
    };
    let rules = PolicyRules { destinations: vec![rule], ..PolicyRules::default() };
    let host = host(world, &rules).await;
    let (first, event) = broadcast_of(world).await;
    assert_eq!(stopped(&host, &event).await, waits(policy_rule::COOLING_OFF));
    world.age(HOUR).await;
    assert_eq!(stopped(&host, &event).await, None);
    let (_, event) = broadcast_of(world).await;
    assert_eq!(
        stopped(&host, &event).await,
        waits(policy_rule::COOLING_OFF),
        "in flight is not paid"
    );
    end(world, &first, Transition::Confirm { tx_hash: "0xa".into() }).await;
    assert_eq!(stopped(&host, &event).await, None);
    let lower = |w: &mut Withdrawal| {
        w.request.destination_address = w.request.destination_address.to_lowercase();
    };
    accept_as(world, lower).await;
    let event = world.claim_one(BROADCAST).await;
    assert_eq!(stopped(&host, &event).await, None, "the same address");
    let denied = |w: &mut Withdrawal| {
        w.request.destination_address = "0x00000000000000000000000000000000000000AA".into();
    };
    accept_as(world, denied).await;
    let event = world.claim_one(BROADCAST).await;
    assert_eq!(stopped(&host, &event).await, Some((policy_rule::DESTINATION, true)));
    host.close().await;
}

async fn an_external_yes_holds_for_its_time_and_its_facts_and_a_no_for_ever(world: &World) {
    register(world).await;
    let external = ExternalRule { url: "https://risk.example".into(), holds: HOUR };
    let rules = PolicyRules { external: Some(external), ..PolicyRules::default() };
    let host = host(world, &rules).await;
    let version = Policies::new(rules).version().to_owned();
    let (withdrawal, event) = broadcast_of(world).await;
    let asks = waits(policy_rule::EXTERNAL);
    assert_eq!(stopped(&host, &event).await, asks);
    let keep = async |facts: &str, answer| {
        host.keep_external_answer(withdrawal.id, facts, &answer).await.unwrap();
    };
    keep("another payment's", ExternalAnswer::Allow).await;
    assert_eq!(stopped(&host, &event).await, asks);
    let facts = facts_digest(withdrawal.id, &withdrawal.request, &version);
    keep(&facts, ExternalAnswer::Allow).await;
    world.age(HOUR + MINUTE).await;
    assert_eq!(stopped(&host, &event).await, asks, "it is too old");
    keep(&facts, ExternalAnswer::Deny { reason: "sanctions".into() }).await;
    world.age(HOUR + MINUTE).await;
    assert_eq!(stopped(&host, &event).await, Some((policy_rule::EXTERNAL, true)));
    keep(&facts, ExternalAnswer::Allow).await;
    assert_eq!(stopped(&host, &event).await, None, "the last answer counts");
    host.close().await;
}

async fn a_wait_is_noted_once_and_ends_with_the_signature_or_the_withdrawal(world: &World) {
    register(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let note = async |rule: &str, reason: &str| {
        world.store.note_wait(withdrawal.id, rule, reason).await.unwrap();
    };
    let wait = async || world.store.waits(&[withdrawal.id]).await.unwrap().pop();
    assert_eq!(wait().await, None);
    note("balance", "1 wei").await;
    let first = wait().await.unwrap();
    note("balance", "2 wei").await;
    let second = wait().await.unwrap();
    assert_eq!((second.since, second.reason.as_str()), (first.since, "2 wei"));
    note("fee-cap", "3 wei").await;
    assert!(wait().await.unwrap().since > first.since);
    assert_eq!(world.store.waiting().await.unwrap(), [("fee-cap".to_owned(), 1)]);
    signed(world, &event).await;
    assert_eq!(wait().await, None);
    // A replacement may wait, too; the end of the withdrawal ends it.
    note("fee-cap", "4 wei").await;
    assert!(wait().await.is_some());
    end(world, &withdrawal, Transition::Confirm { tx_hash: "0xa".into() }).await;
    assert_eq!(world.count("withdrawal_waits").await, 0);
    note("fee-cap", "too late").await;
    assert_eq!(world.count("withdrawal_waits").await, 0);
}

async fn what_was_signed_for_cannot_be_rejected(world: &World) {
    register(world).await;
    let reject = async |id| world.store.reject_withdrawal(id, NOTE).await.unwrap();
    let (withdrawal, event) = broadcast_of(world).await;
    signed(world, &event).await;
    assert_eq!(reject(withdrawal.id).await, WithdrawalRejected::Signed);
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    let (withdrawal, event) = broadcast_of(world).await;
    assert_eq!(reject(withdrawal.id).await, WithdrawalRejected::Now);
    assert_eq!(reject(withdrawal.id).await, WithdrawalRejected::Already);
    let events = world.events_of(withdrawal.id).await;
    assert_eq!(events[3..], ["WITHDRAWAL_FAILED PENDING", "PARTNER_SYNC_REQUESTED PENDING"]);
    let late = sign(&world.store, &event, ACCOUNTS[0]).await;
    assert!(matches!(late, Signing::NotLive(_)), "{late:?}");
    let idle = world.accept().await;
    assert_eq!(reject(idle.id).await, WithdrawalRejected::Now);
    let events = world.events_of(idle.id).await;
    assert!(events.contains(&format!("{BROADCAST} FAILED")), "nobody asks in vain: {events:?}");
    assert_eq!(reject(WithdrawalId::generate()).await, WithdrawalRejected::NotFound);
    // One that is on its way is no matter of people any more.
    let (withdrawal, event) = broadcast_of(world).await;
    signed(world, &event).await;
    let sent = Receipt { standing: Some(Standing::Broadcasted), ..Receipt::default() };
    world.settle_one(&event, crate::domain::Decision::Done(sent)).await;
    assert_eq!(reject(withdrawal.id).await, WithdrawalRejected::Signed);
}

async fn what_was_said_about_a_payment_is_never_changed(world: &World) {
    register(world).await;
    let host = host(world, &approvals("1", 1, &[])).await;
    let (withdrawal, event) = broadcast_of(world).await;
    stopped(&host, &event).await;
    approve(&host, withdrawal.id, "ann").await;
    host.keep_external_answer(withdrawal.id, "facts", &ExternalAnswer::Allow).await.unwrap();
    for table in ["policy_decisions", "withdrawal_approvals", "policy_answers"] {
        assert_eq!(world.count(table).await, 1);
        for change in [format!("UPDATE {table} SET reason = ''"), format!("DELETE FROM {table}")] {
            assert!(world.execute(&change).await.is_err(), "{change}");
        }
    }
    host.close().await;
}
