//! Ends that a reorganisation takes back, against a node whose chain a test writes.

use serde_json::json;

use super::super::confirmation::tests::{Bench, bench, bench_with, block_hash};
use super::*;
use crate::domain::SignedTransaction;

/// A payment that is final in block 5 of 7.
async fn confirmed(bench: &Bench) -> SignedTransaction {
    let signed = bench.signed("ETH").await;
    bench.broadcast(&signed).await;
    bench.mine(&signed, 5, "0x1", &json!([]));
    bench.head(7);
    assert_eq!(bench.pass(0).await.confirmed, 1);
    signed
}

async fn watches(bench: &Bench) -> Vec<u64> {
    let state = bench.store.state.lock().await;
    state.watches.values().map(|watch| watch.block_number).collect()
}

/// Block 5 is another one, without the transaction.
fn reorganise(bench: &Bench) {
    let mut state = bench.state.lock().unwrap();
    state.reorganised.insert(5, block_hash(0xbad));
    state.receipts.clear();
}

#[tokio::test]
async fn a_reorganisation_takes_confirmed_back_and_the_same_bytes_go_out_again() {
    let bench = bench().await;
    let signed = confirmed(&bench).await;
    assert_eq!(watches(&bench).await, [5]);
    reorganise(&bench);
    assert_eq!(bench.pass(0).await.reopened, 1);
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Broadcasted);
    assert!(watches(&bench).await.is_empty());
    let pass = bench.pass(3_600).await;
    assert_eq!((pass.resent, pass.looked_at), (1, 1));
    assert_eq!(bench.store.transactions(signed.withdrawal).await.len(), 1, "nothing new is signed");
    // Mined again, and final: CONFIRMED, and watched again.
    bench.mine(&signed, 9, "0x1", &json!([]));
    bench.head(11);
    assert_eq!(bench.pass(0).await.confirmed, 1);
    assert_eq!(watches(&bench).await, [9]);
}

#[tokio::test]
async fn a_payment_that_is_final_in_another_block_stays_confirmed() {
    let bench = bench().await;
    let signed = confirmed(&bench).await;
    reorganise(&bench);
    bench.mine(&signed, 6, "0x1", &json!([]));
    bench.head(8);
    let pass = bench.pass(0).await;
    assert_eq!((pass.reopened, pass.unclear), (0, 0));
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Confirmed);
    assert_eq!(watches(&bench).await, [6]);
}

#[tokio::test]
async fn after_the_watch_nothing_is_taken_back() {
    let bench = bench().await;
    let signed = confirmed(&bench).await;
    // The test's network watches 10 blocks: until 15 is final at a depth of 3.
    bench.head(16);
    bench.pass(0).await;
    assert_eq!(watches(&bench).await, [5]);
    bench.head(17);
    bench.pass(0).await;
    assert!(watches(&bench).await.is_empty());
    reorganise(&bench);
    assert_eq!(bench.pass(0).await.reopened, 0);
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Confirmed);
}

#[tokio::test]
async fn a_node_that_went_back_takes_nothing_back() {
    let bench = bench().await;
    let signed = confirmed(&bench).await;
    bench.head(4);
    let pass = bench.pass(0).await;
    assert_eq!((pass.reopened, pass.unclear), (0, 0));
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Confirmed);
}

#[tokio::test]
async fn a_failure_that_is_taken_back_freezes_the_account_for_a_person() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.broadcast(&signed).await;
    bench.mine(&signed, 5, "0x0", &json!([]));
    bench.head(7);
    assert_eq!(bench.pass(0).await.failed, 1);
    reorganise(&bench);
    assert_eq!(bench.pass(0).await.unclear, 1);
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Failed);
    let state = bench.store.state.lock().await;
    let account = state.accounts.values().next().unwrap();
    let reason = account.frozen_reason.as_deref().unwrap();
    assert!(reason.contains("may yet be paid"), "{reason}");
}

#[tokio::test]
async fn a_network_that_watches_nothing_asks_for_nothing() {
    let bench = bench_with(|config| config.watch_blocks = 0).await;
    confirmed(&bench).await;
    assert!(watches(&bench).await.is_empty());
    let before = bench.node.count("eth_getBlockByNumber");
    bench.pass(0).await;
    assert_eq!(bench.node.count("eth_getBlockByNumber"), before);
}
