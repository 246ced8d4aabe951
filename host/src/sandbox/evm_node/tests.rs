//! Through the door: JSON-RPC over HTTP, with transactions that are really signed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::chain_tests::{TOKEN, Wallet, config, gwei, payment, transfer_call};
use super::*;
use crate::sandbox::testing::{Door, door, loopback};

struct Bench {
    node: EvmNode,
    door: Door,
    now_ms: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
    path: PathBuf,
}

const TO: Address = Address::repeat_byte(0xbb);

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.jsonl");
        let now_ms = Arc::new(AtomicU64::new(1_000_000));
        let (node, door) = Self::open(&path, &now_ms).await;
        Self { node, door, now_ms, _folder: folder, path }
    }

    async fn open(path: &Path, now_ms: &Arc<AtomicU64>) -> (EvmNode, Door) {
        let clock = Clock::Manual(Arc::clone(now_ms));
        let node = EvmNode::start(path, loopback().await, config(), clock).unwrap();
        let door = door(&node.url());
        (node, door)
    }

    /// As after a `kill -9`: nothing is told to end.
    async fn restart(&mut self) {
        self.node.network().shared.journal.as_ref().unwrap().close();
        (self.node, self.door) = Self::open(&self.path, &self.now_ms).await;
    }

    fn pass_blocks(&self, blocks: u64) {
        self.now_ms.fetch_add(blocks * config().block_interval_ms, Ordering::SeqCst);
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let (status, answer) = self.door.post("/", call).await;
        assert_eq!((status, &answer["id"]), (200, &json!(7)), "{answer}");
        answer
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.rpc(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn send(&self, raw: &[u8]) -> Value {
        self.rpc("eth_sendRawTransaction", json!([alloy_primitives::hex::encode_prefixed(raw)]))
            .await
    }

    async fn send_ok(&self, raw: &[u8]) -> String {
        let answer = self.send(raw).await;
        answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn rich(&self) -> Wallet {
        let wallet = Wallet::new(1);
        self.node.network().fund(wallet.address, U256::from(10).pow(U256::from(20))).unwrap();
        wallet
    }
}

#[tokio::test]
async fn a_native_payment_is_mined_at_the_next_block_and_charged_exactly() {
    let bench = Bench::new().await;
    let wallet = bench.rich();
    let before = bench.node.network().balance(wallet.address).unwrap();
    let hash = bench.send_ok(&wallet.sign(payment(0, TO, 5))).await;
    let pending = bench.result("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(pending["blockNumber"], Value::Null);
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    let count = |tag: &'static str| {
        bench.result("eth_getTransactionCount", json!([wallet.address.to_string(), tag]))
    };
    assert_eq!((count("latest").await, count("pending").await), (json!("0x0"), json!("0x1")));

    bench.pass_blocks(1);
    let receipt = bench.result("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    assert_eq!(
        (&receipt["gasUsed"], &receipt["effectiveGasPrice"]),
        (&json!("0x5208"), &json!("0x77359400"))
    );
    assert_eq!(count("latest").await, "0x1");
    let block = bench.result("eth_getBlockByNumber", json!(["0x1", true])).await;
    assert_eq!(
        (&block["hash"], &block["transactions"][0]["hash"]),
        (&receipt["blockHash"], &json!(hash))
    );
    let by_hash = bench.result("eth_getBlockByHash", json!([block["hash"], false])).await;
    assert_eq!(by_hash["transactions"], json!([hash]));
    let after = bench.node.network().balance(wallet.address).unwrap();
    assert_eq!(before - after, U256::from(5) + U256::from(21_000) * U256::from(gwei(2)));
    assert_eq!(bench.result("eth_getBalance", json!([TO.to_string(), "latest"])).await, "0x5");
    assert_eq!(bench.result("eth_getBalance", json!([TO.to_string(), "0x0"])).await, "0x0");
    let (_, list) = bench.door.get("/transfers").await;
    assert_eq!(list["transfers"][0]["amount"], "5");
    assert_eq!(list["transfers"][0]["asset"], "ETH");
    assert_eq!(bench.node.network().transfers().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_payment_has_a_log_and_one_beyond_the_balance_is_reverted() {
    let bench = Bench::new().await;
    let wallet = bench.rich();
    bench.node.network().fund_token(TOKEN, wallet.address, U256::from(100)).unwrap();
    let token = TOKEN.to_string();
    let call = |amount: u64| json!([{ "from": wallet.address.to_string(), "to": token, "input": alloy_primitives::hex::encode_prefixed(transfer_call(TO, amount)) }, "latest"]);
    assert!(bench.result("eth_call", call(100)).await.as_str().unwrap().ends_with('1'));
    let gas = bench.result("eth_estimateGas", call(100)).await;
    let revert = bench.rpc("eth_call", call(101)).await;
    assert_eq!(revert["error"]["code"], 3);
    assert!(revert["error"]["message"].as_str().unwrap().starts_with("execution reverted"));
    assert_ne!(bench.result("eth_getCode", json!([token, "latest"])).await, "0x");

    let mut good = payment(0, TOKEN, 0);
    good.input = transfer_call(TO, 60).into();
    good.gas_limit =
        u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let mut bad = good.clone();
    bad.nonce = 1;
    let good = bench.send_ok(&wallet.sign(good)).await;
    let bad = bench.send_ok(&wallet.sign(bad)).await;
    bench.pass_blocks(1);
    let receipt = bench.result("eth_getTransactionReceipt", json!([good])).await;
    assert_eq!((&receipt["status"], receipt["logs"].as_array().unwrap().len()), (&json!("0x1"), 1));
    let reverted = bench.result("eth_getTransactionReceipt", json!([bad])).await;
    assert_eq!((&reverted["status"], &reverted["logs"]), (&json!("0x0"), &json!([])));
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": TOKEN.to_string(), "topics": [receipt["logs"][0]["topics"][0]] }]);
    assert_eq!(bench.result("eth_getLogs", filter).await, receipt["logs"]);
    let balance = format!("0x70a08231{:0>64}", alloy_primitives::hex::encode(TO));
    let held = bench.result("eth_call", json!([{ "to": token, "data": balance }, "latest"])).await;
    assert!(held.as_str().unwrap().ends_with("3c"));
    let transfers = bench.node.network().transfers().unwrap();
    assert_eq!((transfers.len(), transfers[0].asset.as_str()), (1, "USDC"));
}

#[tokio::test]
async fn a_restart_finds_chain_pool_and_balances_again() {
    let mut bench = Bench::new().await;
    let wallet = bench.rich();
    let mined = bench.send_ok(&wallet.sign(payment(0, TO, 5))).await;
    bench.pass_blocks(3);
    let block = bench.result("eth_getBlockByNumber", json!(["0x1", true])).await;
    let empty = bench.result("eth_getBlockByNumber", json!(["latest", true])).await;
    let waiting = bench.send_ok(&wallet.sign(payment(1, TO, 7))).await;
    bench.pass_blocks(20);
    bench.restart().await;
    assert_eq!(bench.node.network().height().unwrap(), 23);
    assert_eq!(bench.result("eth_getBlockByNumber", json!(["0x1", true])).await, block);
    assert_eq!(bench.result("eth_getBlockByNumber", json!(["0x3", true])).await, empty);
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([mined])).await["status"], "0x1");
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([waiting])).await, Value::Null);
    bench.pass_blocks(1);
    let receipt = bench.result("eth_getTransactionReceipt", json!([waiting])).await;
    assert_eq!(receipt["blockNumber"], "0x18");
    bench.restart().await;
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([waiting])).await, receipt);
    // A clock that was set back does not take the height back.
    bench.now_ms.store(1_000_000, Ordering::SeqCst);
    assert_eq!(bench.node.network().height().unwrap(), 24);
}

#[tokio::test]
async fn batches_are_answered_in_order_and_garbage_with_an_error() {
    let bench = Bench::new().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" },
        { "jsonrpc": "2.0", "method": "eth_chainId" },
        { "jsonrpc": "2.0", "id": "x", "method": "eth_nonsense", "params": [] },
        5,
    ]);
    let (_, answers) = bench.door.post("/", batch).await;
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!((&answers[0]["id"], &answers[0]["result"]), (&json!(1), &json!("0x7a69")));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!("x"), &json!(-32601)));
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(bench.door.post("/", json!([])).await.1["error"]["code"], -32600);
    let garbage = bench.door.request("POST", "/").body("{");
    assert_eq!(bench.door.send(garbage).await.unwrap().2["error"]["code"], -32700);
    for params in [json!([]), json!(["0x1"]), json!([1]), json!({ "a": 1 })] {
        assert_eq!(bench.rpc("eth_getBalance", params).await["error"]["code"], -32602);
    }
}

#[tokio::test]
async fn tags_and_fees_are_those_of_the_time() {
    let bench = Bench::new().await;
    bench.pass_blocks(10);
    for (tag, number) in [
        ("latest", "0xa"),
        ("safe", "0x8"),
        ("finalized", "0x6"),
        ("earliest", "0x0"),
        ("pending", "0xb"),
    ] {
        assert_eq!(
            bench.result("eth_getBlockByNumber", json!([tag, false])).await["number"],
            number
        );
    }
    assert_eq!(bench.result("eth_getBlockByNumber", json!(["0xb", false])).await, Value::Null);
    let child = bench.result("eth_getBlockByNumber", json!(["0xa", false])).await;
    let parent = bench.result("eth_getBlockByNumber", json!(["0x9", false])).await;
    assert_eq!(child["parentHash"], parent["hash"]);
    bench.node.network().disturb(ChainFault::BaseFee { wei: 7, blocks: None }).unwrap();
    let history = bench.result("eth_feeHistory", json!(["0x2", "latest", [50]])).await;
    assert_eq!(history["oldestBlock"], "0x9");
    assert_eq!(history["baseFeePerGas"], json!(["0x3b9aca00", "0x3b9aca00", "0x7"]));
    assert_eq!(history["reward"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_transaction_was_taken() {
    let bench = Bench::new().await;
    let wallet = bench.rich();
    let fault = json!({ "mode": "drop_answer_after_accept", "count": 1 });
    assert_eq!(bench.door.post("/_faults", fault).await.0, 204);
    // A read is not what this fault concerns.
    bench.result("eth_blockNumber", json!([])).await;
    let raw = wallet.sign(payment(0, TO, 5));
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [alloy_primitives::hex::encode_prefixed(&raw)] });
    let lost = bench.door.send(bench.door.request("POST", "/").json(&call)).await;
    assert!(lost.is_err());
    let again = bench.send(&raw).await;
    assert_eq!(again["error"], json!({ "code": -32000, "message": "already known" }));
    bench.pass_blocks(1);
    assert_eq!(bench.node.network().transfers().unwrap().len(), 1);
}

#[tokio::test]
async fn faults_are_switched_over_json_rpc_and_http() {
    let bench = Bench::new().await;
    let wallet = bench.rich();
    bench.node.network().set_fault(0, NodeFault::Down, None);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    assert_eq!(bench.door.post("/", call.clone()).await.0, 503);
    assert_eq!(bench.result("tidegate_clearFaults", json!([])).await, true);
    bench.result("tidegate_setFault", json!([{ "mode": "refuse_connections", "count": 1 }])).await;
    assert!(bench.door.send(bench.door.request("POST", "/").json(&call)).await.is_err());

    bench.result("tidegate_setFault", json!([{ "mode": "pause_mining" }])).await;
    let hash = bench.send_ok(&wallet.sign(payment(0, TO, 5))).await;
    bench.pass_blocks(5);
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    bench.result("tidegate_setFault", json!([{ "mode": "evict" }])).await;
    assert_eq!(bench.result("eth_getTransactionByHash", json!([hash])).await, Value::Null);
    assert_eq!(bench.door.delete("/_faults").await, 204);
    assert_eq!(bench.send_ok(&wallet.sign(payment(0, TO, 5))).await, hash);
    bench.pass_blocks(1);
    let receipt = bench.result("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["blockNumber"], "0x6");
    bench.node.network().trouble(0, NodeTrouble::Lag { blocks: 2 }).unwrap();
    assert_eq!(bench.result("eth_blockNumber", json!([])).await, "0x4");
    assert_eq!(bench.result("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    for bad in [json!({ "mode": "lag" }), json!({ "mode": "x" }), json!({})] {
        assert_eq!(bench.rpc("tidegate_setFault", json!([bad])).await["error"]["code"], -32602);
    }
}

#[tokio::test]
async fn a_journal_of_another_chain_is_refused() {
    let mut bench = Bench::new().await;
    bench.restart().await;
    bench.node.network().shared.journal.as_ref().unwrap().close();
    let other = ChainConfig { chain_id: 5, ..config() };
    let started = EvmNode::start(&bench.path, loopback().await, other, Clock::System);
    assert!(matches!(started, Err(SandboxError::Journal(JournalError::Corrupt { line: 1, .. }))));
}
