//! Accounts that somebody else uses, against a node whose chain a test writes.

use super::super::confirmation::tests::{Bench, bench};
use super::super::signing::SignError;
use crate::domain::WithdrawalStatus;

async fn frozen_reason(bench: &Bench) -> Option<String> {
    let state = bench.store.state.lock().await;
    state.accounts.values().next().and_then(|account| account.frozen_reason.clone())
}

fn stranger(bench: &Bench, nonce: u64, block: u64) -> String {
    let hash = format!("0x{:064x}", 0x57_0000 + nonce);
    bench.state.lock().unwrap().strangers.push((nonce, block, hash.clone()));
    hash
}

#[tokio::test]
async fn a_nonce_that_a_stranger_used_freezes_the_account_once_that_is_final() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.broadcast(&signed).await;
    let hash = stranger(&bench, signed.nonce, 5);
    bench.head(6);
    bench.pass(0).await;
    assert_eq!(frozen_reason(&bench).await, None, "it may still be reorganised away");
    bench.head(7);
    assert_eq!(bench.pass(0).await.unclear, 1);
    let reason = frozen_reason(&bench).await.unwrap();
    assert!(reason.contains(&hash) && reason.contains("block 5"), "{reason}");
    // Nothing is said of the withdrawal that is not known.
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Broadcasted);
}

#[tokio::test]
async fn a_chain_that_gets_ahead_while_the_host_runs_freezes_the_account() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.broadcast(&signed).await;
    bench.mine(&signed, 5, "0x1", &serde_json::json!([]));
    stranger(&bench, signed.nonce + 1, 5);
    bench.head(5);
    bench.pass(0).await;
    let reason = frozen_reason(&bench).await.unwrap();
    assert!(reason.contains("2 transactions") && reason.contains("allotted 1"), "{reason}");
}

#[tokio::test]
async fn no_nonce_is_signed_that_the_chain_has_used() {
    let bench = bench().await;
    bench.signed("ETH").await;
    for nonce in [0, 1] {
        stranger(&bench, nonce, 5);
    }
    bench.head(7);
    let next = super::super::testing::withdrawal_of(
        "ETH",
        "eip155:1",
        "1",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    );
    let id = bench.store.add(next).await;
    let request = super::super::TransactionRequest {
        chain_id: 1,
        to: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
        value: "1000000000000000000".into(),
        data: Vec::new(),
        gas_limit: 60_000,
        max_fee_per_gas: "1000".into(),
        max_priority_fee_per_gas: "100".into(),
    };
    let lease = super::super::testing::a_lease();
    let waits = bench.chain.sign(lease, id, request, false).await.unwrap_err();
    assert!(matches!(waits, SignError::Wait { rule: "account.stranger", .. }), "{waits}");
    assert!(frozen_reason(&bench).await.unwrap().contains("nonce 1"));
    assert!(bench.store.transactions(id).await.is_empty());
}
