//! Payments that are given up, ends that are watched, and accounts that are frozen and freed.

use async_trait::async_trait;

use super::chain::{ACCOUNT, Signer, broadcast_of, broadcasted, registered, request, said, signed};
use super::on_both_stores;
use super::world::{BROADCAST, MINUTE, World};
use crate::domain::{
    Decision, FailureCode, FailureReason, NewSignedTransaction, PaymentWatch, SigningRefusal,
    SigningSituation, TransactionKind, Transition, Withdrawal, WithdrawalId,
};
use crate::store::{CancelledWithdrawal, Conclude, Concluded, SignClosing, Signing, SigningRules};

on_both_stores!(
    a_cancel_before_the_signature_fails_the_withdrawal_and_its_broadcast_at_once,
    a_cancel_after_the_signature_leaves_the_end_to_the_chain,
    a_rejected_broadcast_after_the_signature_has_the_payment_closed,
    a_signature_and_a_cancel_at_once_never_both_win,
    a_closing_has_the_payments_nonce_and_is_not_replaced_too_soon,
    nothing_is_closed_that_was_not_given_up_or_is_frozen_or_ended,
    a_watch_begins_with_the_end_and_goes_with_it,
    a_frozen_account_is_freed_with_a_nonce_that_never_falls,
);

/// Signs a closing with rising fees.
struct Closer(Signer);

#[async_trait]
impl SigningRules for Closer {
    async fn sign(&self, of: &SigningSituation) -> Result<NewSignedTransaction, SigningRefusal> {
        let signed = self.0.sign(of).await?;
        let hash = format!("0xc{}", &signed.hash[2..]);
        Ok(NewSignedTransaction { kind: TransactionKind::Closing, hash, ..signed })
    }
}

fn closer() -> Closer {
    Closer(Signer::new())
}

fn closing_of(withdrawal: WithdrawalId) -> SignClosing {
    SignClosing { withdrawal, chain_id: 1, not_within: MINUTE }
}

async fn cancel(world: &World, id: WithdrawalId) -> CancelledWithdrawal {
    world.store.cancel_withdrawal(id, "a mistake", "me").await.unwrap()
}

async fn a_cancel_before_the_signature_fails_the_withdrawal_and_its_broadcast_at_once(
    world: &World,
) {
    registered(world).await;
    let waiting = world.accept().await;
    assert_eq!(cancel(world, waiting.id).await, CancelledWithdrawal::Failed);
    assert_eq!(world.status(waiting.id).await, "FAILED");
    let events = world.events_of(waiting.id).await;
    assert!(events.contains(&format!("{BROADCAST} FAILED")), "{events:?}");
    assert!(events.contains(&"WITHDRAWAL_FAILED PENDING".to_owned()), "{events:?}");
    assert_eq!(cancel(world, waiting.id).await, CancelledWithdrawal::Failed);
    assert_eq!(world.events_of(waiting.id).await, events, "a repeat changes nothing");
    // One that a host holds signs nothing any more.
    let (held, event) = broadcast_of(world).await;
    assert_eq!(cancel(world, held.id).await, CancelledWithdrawal::Failed);
    let signing = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    assert!(matches!(signing, Signing::NotLive(_)), "{signing:?}");
    assert_eq!(cancel(world, WithdrawalId::generate()).await, CancelledWithdrawal::NotFound);
    assert_eq!(world.count("withdrawal_closings").await, 0);
}

async fn a_cancel_after_the_signature_leaves_the_end_to_the_chain(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let first = signed(world, &event).await;
    for _ in 0..2 {
        assert_eq!(cancel(world, withdrawal.id).await, CancelledWithdrawal::Closing);
    }
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    let closing = payment.closing.unwrap();
    assert_eq!((closing.reason.as_str(), closing.asked_by.as_str()), ("a mistake", "me"));
    let open = world.store.open_payments(1, None, 9).await.unwrap();
    assert!(open[0].closing.is_some());
    // The plugin replaces it no more; what is stored it may still send.
    let replaced = world.store.sign_payment(request(&event, true), &Signer::new()).await.unwrap();
    assert!(
        matches!(replaced, Signing::Refused(SigningRefusal::Refused { rule: "nonce.closed", .. })),
        "{replaced:?}"
    );
    let stored = world.store.sign_payment(request(&event, false), &Signer::new()).await.unwrap();
    assert_eq!(stored, Signing::Stored(first));
    world.settle_one(&event, broadcasted()).await;
    end(world, &withdrawal, Transition::Confirm { tx_hash: "0xa".into() }, None).await;
    assert_eq!(cancel(world, withdrawal.id).await, CancelledWithdrawal::Paid);
}

async fn a_rejected_broadcast_after_the_signature_has_the_payment_closed(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    signed(world, &event).await;
    let never = FailureReason { code: FailureCode::Rejected, text: "never valid".into() };
    world.settle_one(&event, Decision::Fail(never)).await;
    assert_eq!(world.status(withdrawal.id).await, "REQUESTED");
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(payment.closing.unwrap().reason, "never valid");
    // What only failed too often may still be mined, and is left to the chain.
    let (tired, event) = broadcast_of(world).await;
    signed(world, &event).await;
    let tired_of = FailureReason { code: FailureCode::AttemptsExhausted, text: "12".into() };
    world.settle_one(&event, Decision::Fail(tired_of)).await;
    assert!(world.store.payment(tired.id).await.unwrap().unwrap().closing.is_none());
}

async fn a_signature_and_a_cancel_at_once_never_both_win(world: &World) {
    registered(world).await;
    for _ in 0..20 {
        let (withdrawal, event) = broadcast_of(world).await;
        let signer = Signer::new();
        let signing = world.store.sign_payment(request(&event, false), &signer);
        let (signing, cancelled) = tokio::join!(signing, cancel(world, withdrawal.id));
        let failed = world.status(withdrawal.id).await == "FAILED";
        match (signing.unwrap(), cancelled) {
            (Signing::Signed(_), CancelledWithdrawal::Closing) => assert!(!failed),
            (Signing::NotLive(_), CancelledWithdrawal::Failed) => assert!(failed),
            both => panic!("{both:?}"),
        }
    }
}

async fn a_closing_has_the_payments_nonce_and_is_not_replaced_too_soon(world: &World) {
    registered(world).await;
    let (withdrawal, event) = broadcast_of(world).await;
    let first = signed(world, &event).await;
    cancel(world, withdrawal.id).await;
    let closer = closer();
    let close = || world.store.sign_closing(closing_of(withdrawal.id), &closer);
    let (one, two) = tokio::join!(close(), close());
    let (one, two) = (one.unwrap(), two.unwrap());
    let ((Signing::Signed(closing), Signing::Stored(stored))
    | (Signing::Stored(stored), Signing::Signed(closing))) = (one, two)
    else {
        panic!("two hosts sign one closing, not two");
    };
    assert_eq!(stored, closing);
    assert_eq!((closing.nonce, closing.signed.kind), (first.nonce, TransactionKind::Closing));
    world.age(2 * MINUTE).await;
    let Signing::Signed(second) = close().await.unwrap() else { panic!("it is old enough") };
    assert_ne!(second.signed.hash, closing.signed.hash);
    let payment = world.store.payment(withdrawal.id).await.unwrap().unwrap();
    assert_eq!(payment.transactions.len(), 3);
    let account = world.store.register_account(1, ACCOUNT, 0).await.unwrap();
    assert_eq!(account.next_nonce, first.nonce + 1);
}

async fn nothing_is_closed_that_was_not_given_up_or_is_frozen_or_ended(world: &World) {
    registered(world).await;
    let not_live = |signing: &Signing| matches!(signing, Signing::NotLive(_));
    let (withdrawal, event) = broadcast_of(world).await;
    let closer = closer();
    let close = |chain_id| {
        let request = SignClosing { chain_id, ..closing_of(withdrawal.id) };
        world.store.sign_closing(request, &closer)
    };
    assert!(not_live(&close(1).await.unwrap()));
    signed(world, &event).await;
    assert!(not_live(&close(1).await.unwrap()));
    cancel(world, withdrawal.id).await;
    assert!(not_live(&close(2).await.unwrap()));
    world.store.freeze_account(said("x")).await.unwrap();
    let frozen = close(1).await.unwrap();
    assert!(
        matches!(frozen, Signing::Refused(SigningRefusal::Wait { rule: "account.frozen", .. })),
        "{frozen:?}"
    );
    world.store.unfreeze_account(said("looked"), 0).await.unwrap();
    end(world, &withdrawal, Transition::Confirm { tx_hash: "0xa".into() }, None).await;
    assert!(not_live(&close(1).await.unwrap()));
    assert_eq!(world.count("signed_transactions").await, 1);
}

fn watch_of(withdrawal: &Withdrawal, block_number: u64) -> PaymentWatch {
    PaymentWatch {
        withdrawal: withdrawal.id,
        chain_id: 1,
        tx_hash: "0xa".into(),
        block_number,
        block_hash: format!("0xb{block_number}"),
        until_block: block_number + 64,
    }
}

async fn end(
    world: &World,
    of: &Withdrawal,
    end: Transition,
    watch: Option<PaymentWatch>,
) -> Concluded {
    let transitions = vec![Transition::Broadcast { tx_hash: "0xa".into() }, end];
    let request =
        Conclude { withdrawal: of.id, transitions, evidence: "{\"block\": 5}".into(), watch };
    world.store.conclude(request).await.unwrap()
}

async fn a_watch_begins_with_the_end_and_goes_with_it(world: &World) {
    let mut of = [world.accept().await, world.accept().await, world.accept().await];
    of.sort_by_key(|withdrawal| withdrawal.id);
    for (number, withdrawal) in (7..).zip(&of) {
        let confirm = Transition::Confirm { tx_hash: "0xa".into() };
        end(world, withdrawal, confirm, Some(watch_of(withdrawal, number))).await;
    }
    let first = world.store.watches(1, None, 2).await.unwrap();
    assert_eq!(first, [watch_of(&of[0], 7), watch_of(&of[1], 8)]);
    let rest = world.store.watches(1, Some(of[1].id), 2).await.unwrap();
    assert_eq!(rest, [watch_of(&of[2], 9)]);
    assert_eq!(world.store.watches(2, None, 2).await.unwrap(), []);
    world.store.move_watch(&watch_of(&of[1], 11)).await.unwrap();
    // A reorganisation took it back: there is nothing to watch, and the payment is open again.
    let reopen = Conclude {
        withdrawal: of[0].id,
        transitions: vec![Transition::Reopen],
        evidence: "{}".into(),
        watch: None,
    };
    world.store.conclude(reopen).await.unwrap();
    assert_eq!(world.status(of[0].id).await, "BROADCASTED");
    let events = world.events_of(of[0].id).await;
    assert_eq!(
        events[events.len() - 2..],
        ["WITHDRAWAL_REOPENED PENDING", "PARTNER_SYNC_REQUESTED PENDING"]
    );
    world.store.end_watches(&[of[2].id]).await.unwrap();
    assert_eq!(world.store.watches(1, None, 9).await.unwrap(), [watch_of(&of[1], 11)]);
}

async fn a_frozen_account_is_freed_with_a_nonce_that_never_falls(world: &World) {
    assert_eq!(world.store.unfreeze_account(said("x"), 0).await.unwrap(), None);
    registered(world).await;
    assert_eq!(world.store.unfreeze_account(said("not frozen"), 99).await.unwrap(), Some(false));
    world.store.freeze_account(said("a stranger's nonce")).await.unwrap();
    assert_eq!(world.store.unfreeze_account(said("looked"), 3).await.unwrap(), Some(true));
    let account = |accounts: Vec<crate::store::Account>| accounts[0].clone();
    let freed = account(world.store.accounts(1).await.unwrap());
    assert_eq!((freed.next_nonce, freed.frozen_reason), (7, None));
    world.store.freeze_account(said("again")).await.unwrap();
    world.store.unfreeze_account(said("the chain is at 12"), 12).await.unwrap();
    assert_eq!(account(world.store.accounts(1).await.unwrap()).next_nonce, 12);
    assert_eq!(world.store.accounts(2).await.unwrap(), []);
    let history = world.store.account_history(1, ACCOUNT).await.unwrap();
    let told: Vec<_> = history.iter().map(|note| (note.frozen, note.reason.as_str())).collect();
    let expected = [
        (true, "a stranger's nonce"),
        (false, "looked"),
        (true, "again"),
        (false, "the chain is at 12"),
    ];
    assert_eq!(told, expected);
    assert!(history.iter().all(|note| note.by == "a test"));
}
