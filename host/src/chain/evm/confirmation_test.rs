//! Passes over open payments, against a node whose chain a test writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::U256;
use chrono::Utc;
use serde_json::{Value, json};

use super::super::TransactionRequest;
use super::super::fake_node::{FakeNode, Manner, unknown};
use super::super::testing::{FakeStore, a_lease, config, open, withdrawal_of};
use super::super::transaction::transfer_call;
use super::*;
use crate::domain::WithdrawalStatus;

const PAYEE: &str = "0x52908400098527886E0F7030069857D2E4169EE7";
const CONTRACT: &str = "0x00000000000000000000000000000000000000cc";

#[derive(Default)]
pub(in crate::chain::evm) struct Chain {
    head: u64,
    account: String,
    pub(in crate::chain::evm) receipts: BTreeMap<String, Value>,
    /// Transactions of the account that are none of ours: nonce, block, hash.
    pub(in crate::chain::evm) strangers: Vec<(u64, u64, String)>,
    /// Blocks whose hash is not the usual one.
    pub(in crate::chain::evm) reorganised: BTreeMap<u64, String>,
}

pub(in crate::chain::evm) fn block_hash(number: u64) -> String {
    format!("0x{number:064x}")
}

pub(in crate::chain::evm) struct Bench {
    pub(in crate::chain::evm) node: FakeNode,
    pub(in crate::chain::evm) state: Arc<Mutex<Chain>>,
    pub(in crate::chain::evm) store: Arc<FakeStore>,
    pub(in crate::chain::evm) chain: Arc<EvmChain>,
    _folder: tempfile::TempDir,
}

fn answer(state: &Mutex<Chain>, method: &str, params: &Value) -> Result<Value, (i64, String)> {
    let state = state.lock().unwrap();
    match method {
        "eth_getTransactionCount" => {
            // One account: what has a receipt is mined.
            let up_to = super::super::rpc::quantity(&params[1]).unwrap_or(state.head);
            let block = |receipt: &Value| super::super::rpc::quantity(&receipt["blockNumber"]);
            let mined = state.receipts.values().filter(|r| block(r).is_none_or(|b| b <= up_to));
            let strangers = state.strangers.iter().filter(|(_, block, _)| *block <= up_to);
            Ok(json!(format!("{:#x}", mined.count() + strangers.count())))
        }
        "eth_getBalance" => Ok(json!("0xffffffffffffffffffffffff")),
        "eth_call" => Ok(json!(format!("0x{:064x}", 1_u64 << 60))),
        "eth_blockNumber" => Ok(json!(format!("{:#x}", state.head))),
        "eth_getTransactionReceipt" => {
            Ok(state.receipts.get(params[0].as_str().unwrap()).cloned().unwrap_or_default())
        }
        "eth_getBlockByNumber" => {
            let number = super::super::rpc::quantity(&params[0]).unwrap();
            let hash = state.reorganised.get(&number).cloned();
            let hash = hash.unwrap_or_else(|| block_hash(number));
            let of_block = state.strangers.iter().filter(|(_, block, _)| *block == number);
            let transactions: Vec<Value> = of_block
                .map(|(nonce, _, hash)| {
                    json!({
                        "hash": hash, "from": state.account, "to": PAYEE, "value": "0x1",
                        "nonce": format!("{nonce:#x}"), "input": "0x",
                    })
                })
                .collect();
            let block = json!({ "number": params[0], "hash": hash, "transactions": transactions });
            Ok(if number > state.head { Value::Null } else { block })
        }
        "eth_feeHistory" => {
            Ok(json!({ "baseFeePerGas": ["0x100", "0x200"], "reward": [["0x10"]] }))
        }
        "eth_estimateGas" => Ok(json!("0x5208")),
        "eth_sendRawTransaction" => Err((-32_000, "already known".into())),
        method => unknown(method),
    }
}

pub(in crate::chain::evm) async fn bench() -> Bench {
    bench_with(|_| {}).await
}

pub(in crate::chain::evm) async fn bench_with(
    edit: impl FnOnce(&mut crate::chain::NetworkConfig),
) -> Bench {
    let state: Arc<Mutex<Chain>> = Arc::default();
    let of_node = Arc::clone(&state);
    let node = FakeNode::start(move |method, params| answer(&of_node, method, params)).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FakeStore::default());
    let mut config = config(folder.path(), "eip155:1", std::slice::from_ref(&node.url), CONTRACT);
    config.fees.fee_max_per_day = u128::MAX;
    edit(&mut config);
    let chain = open(config, &store).await;
    state.lock().unwrap().account = chain.accounts().next().unwrap().to_lowercase();
    Bench { node, state, store, chain, _folder: folder }
}

impl Bench {
    pub(in crate::chain::evm) async fn signed(&self, asset: &str) -> SignedTransaction {
        let withdrawal = withdrawal_of(asset, "eip155:1", "1", PAYEE);
        let id = self.store.add(withdrawal).await;
        let units = U256::from(1_000_000);
        let native = asset == "ETH";
        let request = TransactionRequest {
            chain_id: 1,
            to: if native { PAYEE.into() } else { CONTRACT.into() },
            value: if native { "1000000000000000000".into() } else { "0".into() },
            data: if native { Vec::new() } else { transfer_call(PAYEE.parse().unwrap(), units) },
            gas_limit: 60_000,
            max_fee_per_gas: "1000".into(),
            max_priority_fee_per_gas: "100".into(),
        };
        self.chain.sign(a_lease(), id, request, false).await.unwrap()
    }

    pub(in crate::chain::evm) async fn broadcast(&self, signed: &SignedTransaction) {
        let step = Transition::Broadcast { tx_hash: signed.signed.hash.clone() };
        let mut state = self.store.state.lock().await;
        let payment = state.payments.get_mut(&signed.withdrawal).unwrap();
        match payment.withdrawal.step(&step, Utc::now()).unwrap() {
            crate::domain::Step::Changed(next) => payment.withdrawal = next,
            crate::domain::Step::Unchanged => panic!("it was broadcast before"),
        }
    }

    pub(in crate::chain::evm) fn mine(
        &self,
        signed: &SignedTransaction,
        block: u64,
        status: &str,
        logs: &Value,
    ) {
        let receipt = json!({
            "transactionHash": signed.signed.hash, "blockNumber": format!("{block:#x}"),
            "blockHash": block_hash(block), "from": signed.account, "to": PAYEE,
            "status": status, "logs": logs, "gasUsed": "0x5208", "type": "0x2",
        });
        let mut state = self.state.lock().unwrap();
        state.receipts.insert(signed.signed.hash.clone(), receipt);
        state.head = state.head.max(block);
    }

    pub(in crate::chain::evm) fn head(&self, head: u64) {
        self.state.lock().unwrap().head = head;
    }

    pub(in crate::chain::evm) async fn pass(&self, seconds_from_now: i64) -> ConfirmationPass {
        let now = Utc::now() + chrono::Duration::seconds(seconds_from_now);
        self.chain.confirmation_pass(now).await.unwrap()
    }
}

fn transfer_log(account: &str, units: u64) -> Value {
    let topic = |address: &str| format!("0x{}{}", "0".repeat(24), &address[2..].to_lowercase());
    json!([{
        "address": CONTRACT,
        "topics": [
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
            topic(account), topic(PAYEE),
        ],
        "data": format!("0x{units:064x}"), "logIndex": "0x0", "removed": false,
    }])
}

#[tokio::test]
async fn a_payment_is_confirmed_at_the_depth_and_not_before() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.broadcast(&signed).await;
    assert_eq!(bench.pass(0).await, ConfirmationPass { looked_at: 1, ..Default::default() });
    bench.mine(&signed, 10, "0x1", &json!([]));
    bench.head(11);
    assert_eq!(bench.pass(0).await.confirmed, 0);
    bench.head(12);
    assert_eq!(bench.pass(0).await.confirmed, 1);
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Confirmed);
    assert_eq!(bench.pass(0).await, ConfirmationPass::default(), "an ended payment is not read");
    let state = bench.store.state.lock().await;
    let evidence: Value = serde_json::from_str(&state.concluded[0].evidence).unwrap();
    assert_eq!((&evidence["block_number"], &evidence["depth"]), (&json!(10), &json!(3)));
    assert_eq!(state.concluded[0].transitions.len(), 1);
}

#[tokio::test]
async fn a_payment_whose_host_died_after_signing_is_broadcast_and_confirmed_at_once() {
    let bench = bench().await;
    let signed = bench.signed("USDT").await;
    bench.mine(&signed, 10, "0x1", &transfer_log(&signed.account, 1_000_000));
    bench.head(12);
    assert_eq!(bench.pass(0).await.confirmed, 1);
    let hash = signed.signed.hash.clone();
    let expected =
        [Transition::Broadcast { tx_hash: hash.clone() }, Transition::Confirm { tx_hash: hash }];
    assert_eq!(bench.store.state.lock().await.concluded[0].transitions, expected);
}

#[tokio::test]
async fn a_revert_and_a_false_transfer_fail_the_withdrawal_when_final() {
    let bench = bench().await;
    let reverted = bench.signed("ETH").await;
    let refused = bench.signed("USDT").await;
    bench.mine(&reverted, 10, "0x0", &json!([]));
    bench.mine(&refused, 10, "0x1", &json!([]));
    assert_eq!(bench.pass(0).await.failed, 0, "a reorganisation could still make them succeed");
    bench.head(12);
    let pass = bench.pass(0).await;
    assert_eq!((pass.failed, pass.confirmed), (2, 0));
    for signed in [reverted, refused] {
        assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Failed);
    }
}

#[tokio::test]
async fn another_amount_ends_nothing_and_is_told() {
    let bench = bench().await;
    let signed = bench.signed("USDT").await;
    bench.mine(&signed, 10, "0x1", &transfer_log(&signed.account, 990_000));
    bench.head(12);
    let pass = bench.pass(0).await;
    assert_eq!((pass.unclear, pass.confirmed, pass.failed), (1, 0, 0));
    assert_eq!(bench.store.status(signed.withdrawal).await, WithdrawalStatus::Requested);
}

#[tokio::test]
async fn a_receipt_of_a_block_that_was_reorganised_away_ends_nothing() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.mine(&signed, 10, "0x1", &json!([]));
    bench.head(50);
    bench.state.lock().unwrap().reorganised.insert(10, block_hash(999));
    let pass = bench.pass(31).await;
    assert_eq!((pass.confirmed, pass.resent), (0, 1), "the same bytes go out again");
    bench.state.lock().unwrap().reorganised.clear();
    assert_eq!(bench.pass(0).await.confirmed, 1);
}

#[tokio::test]
async fn what_is_not_mined_is_sent_again_and_then_asked_for() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    assert_eq!(bench.pass(29).await.resent, 0);
    assert_eq!(bench.pass(31).await.resent, 1);
    assert_eq!(bench.pass(32).await.resent, 0, "once in resend_after");
    assert_eq!(bench.pass(62).await.resent, 1);
    assert_eq!(bench.node.count("eth_sendRawTransaction"), 2);
    assert_eq!(bench.pass(121).await.requested, 1);
    assert_eq!(bench.pass(122).await.requested, 0);
    assert_eq!(bench.store.state.lock().await.requested, [signed.withdrawal]);
    let raw = format!("0x{}", alloy_primitives::hex::encode(&signed.signed.raw));
    let calls = bench.node.calls.lock().unwrap();
    let sent = calls.iter().filter(|(method, _)| method == "eth_sendRawTransaction");
    assert!(sent.map(|(_, params)| &params[0]).all(|sent| *sent == json!(raw)));
}

#[tokio::test]
async fn one_garbled_receipt_holds_up_no_other_payment() {
    let bench = bench().await;
    let garbled = bench.signed("ETH").await;
    let good = bench.signed("ETH").await;
    let unconfigured = bench.signed("ETH").await;
    for signed in [&garbled, &good, &unconfigured] {
        bench.mine(signed, 10, "0x1", &json!([]));
    }
    bench.head(12);
    let hash = garbled.signed.hash.clone();
    bench.state.lock().unwrap().receipts.insert(hash, json!({ "status": 1 }));
    let mut state = bench.store.state.lock().await;
    let payment = state.payments.get_mut(&unconfigured.withdrawal).unwrap();
    payment.withdrawal.request.asset = "GONE".into();
    drop(state);
    let pass = bench.pass(0).await;
    assert_eq!((pass.looked_at, pass.confirmed, pass.unclear), (3, 1, 1));
    assert_eq!(bench.store.status(good.withdrawal).await, WithdrawalStatus::Confirmed);
}

#[tokio::test]
async fn a_pass_works_in_pages_and_in_few_requests() {
    let bench = bench().await;
    let count = u64::from(PAGE) + 1;
    for _ in 0..count {
        let signed = bench.signed("ETH").await;
        bench.mine(&signed, 10, "0x1", &json!([]));
    }
    bench.head(12);
    let pass = bench.pass(0).await;
    assert_eq!((pass.looked_at, pass.confirmed), (count, count));
    assert_eq!(bench.node.count("eth_getBlockByNumber"), 3, "one block, once a page, and watched");
    assert_eq!(bench.node.count("eth_blockNumber"), 1, "once a pass");
    assert_eq!(bench.node.count("eth_getTransactionReceipt") as u64, count);
    let calls = bench.node.calls.lock().unwrap();
    let of_chain = calls.iter().map(|(method, _)| method.as_str());
    let of_chain: Vec<&str> =
        of_chain.filter(|m| ["eth_blockNumber", "eth_getBlockByNumber"].contains(m)).collect();
    let block = "eth_getBlockByNumber";
    let head_first = ["eth_blockNumber", block, block, block];
    assert_eq!(of_chain, head_first, "no block seems deeper than it is");
}

#[tokio::test]
async fn what_is_open_and_not_final_costs_no_call_of_its_own() {
    let bench = bench().await;
    let mut open = Vec::new();
    for _ in 0..250 {
        open.push(bench.signed("ETH").await);
    }
    bench.mine(&open[0], 10, "0x1", &json!([]));
    bench.mine(&open[1], 11, "0x1", &json!([]));
    bench.head(12);
    let before = bench.node.calls.lock().unwrap().len();
    assert_eq!(bench.pass(0).await.confirmed, 1, "the other is not deep enough");
    let calls = bench.node.calls.lock().unwrap()[before..].to_vec();
    let names: Vec<&str> = calls.iter().map(|(method, _)| method.as_str()).collect();
    let expected = [
        "eth_blockNumber",
        "eth_getTransactionCount",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_getBlockByNumber",
        // What is watched from now on.
        "eth_getBlockByNumber",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn only_the_lowest_that_are_not_mined_are_sent_again() {
    let bench = bench().await;
    let mut open = Vec::new();
    for _ in 0..RESEND_NONCES_MAX + 10 {
        open.push(bench.signed("ETH").await);
    }
    bench.mine(&open[0], 10, "0x1", &json!([]));
    bench.head(10);
    assert_eq!(bench.pass(31).await.resent, RESEND_NONCES_MAX);
    assert_eq!(bench.node.count("eth_sendRawTransaction") as u64, RESEND_NONCES_MAX);
    let raw = |signed: &SignedTransaction| {
        json!(alloy_primitives::hex::encode_prefixed(&signed.signed.raw))
    };
    let sent = bench.node.calls.lock().unwrap();
    let first = sent.iter().find(|(method, _)| method == "eth_sendRawTransaction").unwrap();
    assert_eq!(first.1[0], raw(&open[1]), "what is mined is not sent");
}

#[tokio::test]
async fn a_node_or_a_store_that_is_away_fails_the_pass_and_the_next_one_does_the_work() {
    let bench = bench().await;
    let signed = bench.signed("ETH").await;
    bench.mine(&signed, 10, "0x1", &json!([]));
    bench.head(12);
    bench.node.behave(Manner::Status(503));
    let failed = bench.chain.confirmation_pass(Utc::now()).await;
    assert!(matches!(failed, Err(ChainError::Rpc(_))), "{failed:?}");
    bench.node.behave(Manner::Proper);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while bench.chain.nodes.tip().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the node is back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.store.state.lock().await.unavailable = true;
    let failed = bench.chain.confirmation_pass(Utc::now()).await;
    assert!(matches!(failed, Err(ChainError::Store(_))), "{failed:?}");
    bench.store.state.lock().await.unavailable = false;
    assert_eq!(bench.pass(0).await.confirmed, 1);
}
