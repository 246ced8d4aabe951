//! Payments that are given up, against a node whose chain a test writes.

use alloy_consensus::{Signed, TxEip1559};
use alloy_eips::eip2718::Decodable2718 as _;
use serde_json::json;

use super::super::confirmation::tests::{Bench, bench, bench_with};
use super::super::rules::replacement_fee_min;
use super::*;
use crate::domain::{SignedTransaction, WithdrawalStatus};

async fn given_up(bench: &Bench) -> (SignedTransaction, SignedTransaction) {
    let payment = bench.signed("ETH").await;
    bench.broadcast(&payment).await;
    bench.store.give_up(payment.withdrawal).await;
    assert_eq!(bench.pass(0).await.closings, 1);
    let mut signed = bench.store.transactions(payment.withdrawal).await;
    let closing = signed.pop().unwrap();
    assert_eq!(signed, std::slice::from_ref(&payment));
    (payment, closing)
}

#[tokio::test]
async fn a_payment_that_is_given_up_is_closed_at_its_nonce_by_what_pays_nobody() {
    let bench = bench().await;
    let (payment, closing) = given_up(&bench).await;
    assert_eq!(closing.signed.kind, TransactionKind::Closing);
    let raw = Signed::<TxEip1559>::decode_2718(&mut closing.signed.raw.as_slice()).unwrap();
    let fields = raw.tx();
    assert_eq!((fields.nonce, fields.value, fields.input.len()), (payment.nonce, U256::ZERO, 0));
    assert_eq!(fields.to.to(), Some(&raw.recover_signer().unwrap()));
    for (old, new) in [
        (payment.signed.fee_max_per_gas, closing.signed.fee_max_per_gas),
        (payment.signed.priority_fee_max_per_gas, closing.signed.priority_fee_max_per_gas),
    ] {
        assert!(new >= replacement_fee_min(old).unwrap(), "{old} → {new}");
    }
    assert!(bench.node.count("eth_sendRawTransaction") > 0, "it is sent at once");
    // Neither signed anew in each pass, nor handed to the plugin.
    let pass = bench.pass(3_600).await;
    assert_eq!((pass.closings, pass.requested), (0, 0));
    assert_eq!(bench.store.transactions(payment.withdrawal).await.len(), 2);
}

#[tokio::test]
async fn the_status_follows_only_what_is_final_whichever_it_is() {
    let bench = bench().await;
    let (payment, closing) = given_up(&bench).await;
    bench.mine(&closing, 5, "0x1", &json!([]));
    bench.head(6);
    bench.pass(0).await;
    assert_eq!(bench.store.status(payment.withdrawal).await, WithdrawalStatus::Broadcasted);
    bench.head(7);
    assert_eq!(bench.pass(0).await.failed, 1);
    let state = bench.store.state.lock().await;
    let reason = state.payments[&payment.withdrawal].withdrawal.state.failure_reason().unwrap();
    assert!(reason.contains("given up") && reason.contains("me: a mistake"), "{reason}");
    drop(state);

    let bench = bench_with(|_| {}).await;
    let (payment, _) = given_up(&bench).await;
    bench.mine(&payment, 5, "0x1", &json!([]));
    bench.head(7);
    assert_eq!(bench.pass(0).await.confirmed, 1);
    assert_eq!(bench.store.status(payment.withdrawal).await, WithdrawalStatus::Confirmed);
}

#[tokio::test]
async fn a_closing_that_is_not_mined_is_replaced_by_a_dearer_one() {
    let bench = bench().await;
    let (payment, first) = given_up(&bench).await;
    {
        let mut state = bench.store.state.lock().await;
        let signed = &mut state.payments.get_mut(&payment.withdrawal).unwrap().transactions;
        signed[1].signed_at -= chrono::Duration::seconds(121);
    }
    assert_eq!(bench.pass(0).await.closings, 1);
    let signed = bench.store.transactions(payment.withdrawal).await;
    let second = &signed[2].signed;
    let least = replacement_fee_min(first.signed.fee_max_per_gas).unwrap();
    assert!(second.fee_max_per_gas >= least && second.kind == TransactionKind::Closing);
}

#[tokio::test]
async fn the_caps_hold_for_closing_too_and_it_waits() {
    let bench = bench_with(|config| config.fees.fee_max_per_gas = 1_100).await;
    let payment = bench.signed("ETH").await;
    bench.broadcast(&payment).await;
    bench.store.give_up(payment.withdrawal).await;
    let pass = bench.pass(3_600).await;
    // What was signed is still sent: the chain decides.
    assert_eq!((pass.closings, pass.resent), (0, 1));
    assert_eq!(bench.store.transactions(payment.withdrawal).await.len(), 1);
}
