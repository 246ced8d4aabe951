//! Faults of answers and of what a node knows, through its doors: HTTP and in process.

use alloy_primitives::hex;
use serde_json::{Value, json};

use super::chain_tests::{TOKEN, Wallet, config, payment, transfer_call};
use super::*;
use crate::sandbox::testing::{Door, door, loopback};

const TO: Address = Address::repeat_byte(0xbb);

struct Bench {
    network: EvmNetwork,
    doors: Vec<Door>,
    wallet: Wallet,
    _nodes: Vec<EvmNode>,
}

/// So many nodes of geth over a chain in memory.
async fn bench(nodes: usize) -> Bench {
    let clock = Clock::Manual(Arc::default());
    let network = EvmNetwork::in_memory(config(), &vec![ClientProfile::Geth; nodes], clock);
    let wallet = Wallet::new(1);
    network.fund(wallet.address, U256::from(10).pow(U256::from(20))).unwrap();
    let mut served = Vec::new();
    for node in 0..nodes {
        served.push(network.serve(node, loopback().await).unwrap());
    }
    let doors = served.iter().map(|node| door(&node.url())).collect();
    Bench { network, doors, wallet, _nodes: served }
}

impl Bench {
    async fn call(&self, node: usize, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        self.doors[node].post("/", call).await.1
    }

    async fn send(&self, node: usize, raw: &[u8]) -> Value {
        self.call(node, "eth_sendRawTransaction", json!([hex::encode_prefixed(raw)])).await
    }

    async fn receipt(&self, node: usize, hash: &Value) -> Value {
        self.call(node, "eth_getTransactionReceipt", json!([hash])).await["result"].clone()
    }

    async fn fault(&self, node: usize, fault: Value) {
        assert_eq!(self.doors[node].post("/_faults", fault).await.0, 204);
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let bench = bench(1).await;
    let fault = json!({ "mode": "rate_limit", "retry_after_s": 7, "count": 1 });
    bench.fault(0, fault).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let request = bench.doors[0].request("POST", "/").json(&call);
    let (status, headers, _) = bench.doors[0].send(request).await.unwrap();
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "7"));
    assert_eq!(bench.call(0, "eth_chainId", json!([])).await["result"], "0x7a69");
}

#[tokio::test]
async fn garbage_is_another_each_time_and_the_work_is_done() {
    let bench = bench(1).await;
    let raw = bench.wallet.sign(payment(0, TO, 5));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction",
        "params": [hex::encode_prefixed(&raw)] });
    bench.network.set_fault(0, NodeFault::Garbage, Some(8));
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..8 {
        match bench.network.answer(0, body.to_string().as_bytes()).await {
            NodeAnswer::Body { status: 200, body, .. } => assert!(answers.insert(body)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.send(0, &raw).await["error"]["message"], "already known");
    assert_eq!(bench.network.sightings().len(), 9);
}

#[tokio::test]
async fn what_is_taken_can_be_forgotten_at_once() {
    let bench = bench(1).await;
    let raw = bench.wallet.sign(payment(0, TO, 5));
    bench.fault(0, json!({ "mode": "accept_and_forget", "count": 1 })).await;
    let hash = bench.send(0, &raw).await["result"].clone();
    assert!(hash.is_string());
    let found = bench.call(0, "eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(found["result"], Value::Null);
    assert_eq!(bench.send(0, &raw).await["result"], hash);
}

#[tokio::test]
async fn nodes_can_lie_about_receipts_and_another_one_tells_the_truth() {
    let bench = bench(2).await;
    let hash = bench.send(0, &bench.wallet.sign(payment(0, TO, 5))).await["result"].clone();
    bench.fault(0, json!({ "mode": "receipts", "lie": "invented" })).await;
    let invented = bench.receipt(0, &hash).await;
    assert_eq!((&invented["status"], &invented["transactionHash"]), (&json!("0x1"), &hash));
    assert_eq!(bench.receipt(1, &hash).await, Value::Null);
    bench.network.pass_blocks(1);
    let truth = bench.receipt(1, &hash).await;
    bench.fault(0, json!({ "mode": "receipts", "lie": "wrong_status" })).await;
    assert_eq!(
        (&bench.receipt(0, &hash).await["status"], &truth["status"]),
        (&json!("0x0"), &json!("0x1"))
    );
    bench.fault(0, json!({ "mode": "receipts", "lie": "wrong_block_hash" })).await;
    assert_ne!(bench.receipt(0, &hash).await["blockHash"], truth["blockHash"]);
    bench.fault(0, json!({ "mode": "receipts", "lie": "none" })).await;
    assert_eq!(bench.receipt(0, &hash).await, Value::Null);
    assert_eq!(bench.doors[0].delete("/_faults").await, 204);
    assert_eq!(bench.receipt(0, &hash).await, truth);
}

#[tokio::test]
async fn a_node_can_lag_go_back_and_stand_still() {
    let bench = bench(2).await;
    bench.network.pass_blocks(10);
    let height =
        async |node| bench.call(node, "eth_blockNumber", json!([])).await["result"].clone();
    bench.fault(0, json!({ "mode": "lag", "blocks": 3 })).await;
    assert_eq!((height(0).await, height(1).await), (json!("0x7"), json!("0xa")));
    bench.fault(0, json!({ "mode": "lag", "blocks": 0 })).await;
    bench.fault(0, json!({ "mode": "stall" })).await;
    bench.network.pass_blocks(5);
    assert_eq!((height(0).await, height(1).await), (json!("0xa"), json!("0xf")));
    let hash = bench.send(1, &bench.wallet.sign(payment(0, TO, 5))).await["result"].clone();
    bench.network.pass_blocks(1);
    assert_eq!(bench.receipt(0, &hash).await, Value::Null);
    bench.network.heal_node(0).unwrap();
    assert_eq!(bench.receipt(0, &hash).await, bench.receipt(1, &hash).await);
}

#[tokio::test]
async fn a_node_of_another_chain_refuses_ours() {
    let bench = bench(2).await;
    let raw = bench.wallet.sign(payment(0, TO, 5));
    bench.fault(0, json!({ "mode": "wrong_chain", "chain_id": 5 })).await;
    assert_eq!(bench.call(0, "eth_chainId", json!([])).await["result"], "0x5");
    let refusal = bench.send(0, &raw).await["error"]["message"].clone();
    assert_eq!(refusal, "invalid sender: invalid chain id for signer: have 31337 want 5");
    let hash = bench.send(1, &raw).await["result"].clone();
    bench.network.pass_blocks(1);
    assert_eq!(bench.receipt(0, &hash).await, Value::Null);
    assert_ne!(bench.receipt(1, &hash).await, Value::Null);
}

#[tokio::test]
async fn the_tags_can_be_moved_and_taken_away() {
    let bench = bench(1).await;
    bench.network.pass_blocks(20);
    let number = async |tag: &str| {
        let answer = bench.call(0, "eth_getBlockByNumber", json!([tag, false])).await;
        (answer["result"]["number"].clone(), answer["error"]["message"].clone())
    };
    assert_eq!(number("finalized").await.0, "0x10");
    bench.fault(0, json!({ "mode": "finality", "finalized_depth": 9 })).await;
    assert_eq!(number("finalized").await.0, "0xb");
    assert_eq!(number("safe").await, (Value::Null, json!("safe block not found")));
}

#[tokio::test]
async fn tokens_can_lie_take_a_part_and_be_paused() {
    let bench = bench(1).await;
    let units = U256::from(1_000_000);
    bench.network.fund_token(TOKEN, bench.wallet.address, units).unwrap();
    let token = TOKEN.to_string();
    let request = json!({ "from": bench.wallet.address.to_string(), "to": token,
        "data": hex::encode_prefixed(transfer_call(TO, 1000)) });
    let mut nonce = 0;
    let mut pay = async || {
        let mut call = payment(nonce, TOKEN, 0);
        call.input = transfer_call(TO, 1000).into();
        call.gas_limit = 100_000;
        nonce += 1;
        let hash = bench.send(0, &bench.wallet.sign(call)).await["result"].clone();
        bench.network.pass_blocks(1);
        let receipt = bench.receipt(0, &hash).await;
        (receipt["status"].clone(), receipt["logs"].as_array().unwrap().len())
    };
    let ask = async || bench.call(0, "eth_call", json!([request, "latest"])).await;

    let set = async |behaviour: Value| {
        let fault = json!({ "mode": "token", "contract": token, "behaviour": behaviour });
        bench.fault(0, fault).await;
    };
    set(json!("returns_false")).await;
    assert!(ask().await["result"].as_str().unwrap().ends_with("00"));
    assert_eq!(pay().await, (json!("0x1"), 0));
    set(json!({ "fee_on_transfer": { "basis_points": 100 } })).await;
    assert_eq!(pay().await, (json!("0x1"), 2));
    assert_eq!(bench.network.token_balance(TOKEN, TO).unwrap(), U256::from(990));
    set(json!("paused")).await;
    let refusal = ask().await["error"]["message"].clone();
    assert_eq!(refusal, "execution reverted: Pausable: paused");
    assert_eq!(pay().await, (json!("0x0"), 0));
    set(json!("standard")).await;
    assert_eq!(pay().await, (json!("0x1"), 1));
}

#[tokio::test]
async fn a_chain_can_ask_for_more_than_21000_gas() {
    let clock = Clock::Manual(Arc::default());
    let config = ChainConfig { gas_extra: 79_000, ..config() };
    let network = EvmNetwork::in_memory(config, &[ClientProfile::Arbitrum], clock);
    let wallet = Wallet::new(1);
    network.fund(wallet.address, U256::from(10).pow(U256::from(20))).unwrap();
    let node = network.serve(0, loopback().await).unwrap();
    let bench = Bench { doors: vec![door(&node.url())], network, wallet, _nodes: vec![node] };
    let request = json!([{ "from": bench.wallet.address.to_string(), "to": TO.to_string() }]);
    assert_eq!(bench.call(0, "eth_estimateGas", request).await["result"], "0x186a0");
    let mut pays = payment(0, TO, 5);
    let refusal = bench.send(0, &bench.wallet.sign(pays.clone())).await;
    assert_eq!(refusal["error"]["message"], "intrinsic gas too low");
    pays.gas_limit = 100_000;
    assert!(bench.send(0, &bench.wallet.sign(pays)).await["result"].is_string());
}

#[tokio::test]
async fn every_byte_string_is_witnessed_before_the_node_looks_at_it() {
    let bench = bench(2).await;
    let hash_of = |raw: &[u8]| alloy_primitives::keccak256(raw);
    let raw = bench.wallet.sign(payment(0, TO, 5));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (notes, network, hash) = (Arc::clone(&told), bench.network.clone(), hash_of(&raw));
    bench.network.on_bytes(move |node, raw| {
        let (notes, network) = (Arc::clone(&notes), network.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionByHash",
                "params": [hash.to_string()] });
            let known = match network.answer(node, call.to_string().as_bytes()).await {
                NodeAnswer::Body { body, .. } => {
                    serde_json::from_slice::<Value>(&body).unwrap()["result"].is_object()
                }
                NodeAnswer::Cut => panic!("no fault is set"),
            };
            notes.lock().unwrap().push((node, raw, known));
        })
    });
    bench.send(1, &raw).await;
    bench.send(0, &raw).await;
    bench.send(0, &[2, 1]).await;
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [(1, raw.clone(), false), (0, raw.clone(), true), (0, vec![2, 1], true)]);
    let sightings = bench.network.sightings();
    let answers: Vec<bool> = sightings.iter().map(|one| one.answer.is_ok()).collect();
    assert_eq!(answers, [true, false, false]);
    let (_, listed) = bench.doors[0].get("/sightings").await;
    assert_eq!(listed["sightings"][0]["raw"], hex::encode_prefixed(&raw));
    bench.network.pass_blocks(1);
    let (_, listed) = bench.doors[0].get("/inclusions").await;
    assert_eq!(listed["inclusions"][0]["canonical"], true);
    assert_eq!(listed["inclusions"][0]["tx_hash"], hash.to_string());
}

#[tokio::test]
async fn faults_that_are_misspelt_are_refused() {
    let bench = bench(1).await;
    for bad in [
        json!({ "mode": "lag" }),
        json!({ "mode": "lag", "blocks": 1, "block": 2 }),
        json!({ "mode": "include", "hash": "0x12" }),
        json!({ "mode": "client", "client": "parity" }),
        json!({ "mode": "down", "count": "two" }),
        json!([]),
    ] {
        assert_eq!(bench.doors[0].post("/_faults", bad.clone()).await.0, 422, "{bad}");
    }
    bench.fault(0, json!({ "mode": "client", "client": "nethermind_old" })).await;
    let version = bench.call(0, "web3_clientVersion", json!([])).await["result"].clone();
    assert!(version.as_str().unwrap().starts_with("Nethermind/v1.25"));
}
