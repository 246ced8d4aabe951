//! Several nodes of one network, of which some lag, lie, or are away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{address, b256};
use serde_json::Value;

use super::super::fake_node::{FakeNode, Manner, unknown};
use super::super::heads::Heads;
use super::super::rpc::client;
use super::*;

const ACCOUNT: Address = address!("00000000000000000000000000000000000000a1");
const HASH: B256 = b256!("0000000000000000000000000000000000000000000000000000000000000001");

/// What one node says.
#[derive(Clone)]
struct Story {
    head: u64,
    finalized: Option<u64>,
    /// In the newest block, and at every height below.
    counts: (u64, Option<u64>),
    balance: u64,
    /// The last byte of the block's hash in its receipt; none where it has no receipt.
    receipt: Option<u8>,
    block: u8,
}

const HONEST: Story = Story {
    head: 100,
    finalized: Some(64),
    counts: (9, Some(7)),
    balance: 1_000,
    receipt: Some(0xbb),
    block: 0xbb,
};

fn hash_of(byte: u8) -> String {
    format!("0x{}{byte:02x}", "0".repeat(62))
}

async fn node(story: Story) -> FakeNode {
    FakeNode::start(move |method, params| match method {
        "eth_blockNumber" => Ok(json!(format!("{:#x}", story.head))),
        "eth_getTransactionCount" => match (params[1] == "latest", story.counts) {
            (true, (latest, _)) => Ok(json!(format!("{latest:#x}"))),
            (false, (_, Some(past))) => Ok(json!(format!("{past:#x}"))),
            (false, (_, None)) => Err((-32_000, "missing trie node".into())),
        },
        "eth_getBalance" => Ok(json!(format!("{:#x}", story.balance))),
        "eth_getTransactionReceipt" => Ok(story.receipt.map_or(Value::Null, |byte| {
            json!({
                "transactionHash": params[0], "blockNumber": "0x5", "blockHash": hash_of(byte),
                "from": format!("{ACCOUNT:#x}"), "status": "0x1", "logs": [],
            })
        })),
        "eth_getBlockByNumber" if params[0] == "finalized" || params[0] == "safe" => {
            let number = story.finalized.map(|number| format!("{number:#x}"));
            Ok(number.map_or(Value::Null, |number| json!({ "number": number, "hash": hash_of(1) })))
        }
        "eth_getBlockByNumber" => Ok(json!({ "number": params[0], "hash": hash_of(story.block) })),
        "eth_sendRawTransaction" => Err((-32_000, "already known".into())),
        method => unknown(method),
    })
    .await
}

async fn nodes_of(stories: &[Story]) -> (Nodes, Vec<FakeNode>) {
    nodes_with(stories, None, Finality::Depth).await
}

async fn nodes_with(
    stories: &[Story],
    quorum: Option<usize>,
    finality: Finality,
) -> (Nodes, Vec<FakeNode>) {
    let mut fakes = Vec::new();
    for story in stories {
        fakes.push(node(story.clone()).await);
    }
    let client = client(&[], Duration::from_secs(1)).unwrap();
    let endpoint = |fake: &FakeNode| Endpoint::new(fake.url.parse().unwrap(), client.clone(), 1);
    let panel = Panel::new(fakes.iter().map(endpoint).collect(), quorum, Duration::from_secs(2));
    (Nodes::new(panel, finality, 3), fakes)
}

async fn block_hash(nodes: &Nodes) -> Option<u8> {
    let receipts = nodes.receipts(&[HASH]).await.unwrap();
    receipts[0].as_ref().map(|receipt| receipt.block_hash.0[31])
}

#[tokio::test]
async fn a_lying_node_among_three_is_outvoted_and_told() {
    for liar in 0..3 {
        let mut stories = vec![HONEST; 3];
        stories[liar].receipt = Some(0xee);
        stories[liar].block = 0xee;
        let (nodes, _fakes) = nodes_of(&stories).await;
        let tip = nodes.tip().await.unwrap();
        for _ in 0..2 {
            assert_eq!(block_hash(&nodes).await, Some(0xbb));
            let view = nodes.canonical(tip, &[5]).await.unwrap();
            assert_eq!(view.hashes[&5].0[31], 0xbb);
        }
        // The third is not asked while the first two agree.
        let told = if liar == 2 { 0 } else { 2 };
        assert_eq!(nodes.panel.contradictions(), told, "each once");
    }
}

#[tokio::test]
async fn of_two_nodes_that_contradict_each_other_neither_is_believed() {
    let (nodes, _fakes) = nodes_of(&[HONEST, Story { receipt: Some(0xee), ..HONEST }]).await;
    assert_eq!(block_hash(&nodes).await, None);
    assert_eq!(nodes.panel.contradictions(), 1);
}

#[tokio::test]
async fn a_receipt_counts_when_a_quorum_has_it_and_a_node_without_it_is_not_against_it() {
    let without = Story { receipt: None, ..HONEST };
    let (nodes, _fakes) = nodes_of(&[without.clone(), HONEST, HONEST]).await;
    assert_eq!(block_hash(&nodes).await, Some(0xbb));
    let (nodes, fakes) = nodes_of(&[without.clone(), HONEST, without]).await;
    assert_eq!(block_hash(&nodes).await, None);
    assert_eq!(nodes.panel.contradictions(), 0, "to lag is not to contradict");
    assert!(fakes.iter().all(|fake| fake.count("eth_getTransactionReceipt") == 1));
}

#[tokio::test]
async fn nodes_beyond_the_quorum_are_not_asked_without_need() {
    let (nodes, fakes) = nodes_of(&[HONEST, HONEST, HONEST]).await;
    assert_eq!(block_hash(&nodes).await, Some(0xbb));
    nodes.balances(ACCOUNT, None).await.unwrap();
    assert_eq!(fakes[2].calls.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn the_head_is_what_a_quorum_has_reached() {
    let at = |head| Story { head, ..HONEST };
    let (nodes, _fakes) = nodes_of(&[at(10), at(u64::MAX), at(100)]).await;
    assert_eq!(nodes.tip().await.unwrap(), Tip { head: 100, final_up_to: Some(98) });
    let (nodes, _fakes) = nodes_of(&[at(1), at(1)]).await;
    assert_eq!(nodes.tip().await.unwrap().final_up_to, None, "not deep enough from the start");
}

#[tokio::test]
async fn with_a_tag_the_final_height_is_what_a_quorum_says_of_it() {
    let at = |finalized| Story { finalized, ..HONEST };
    for finality in [Finality::Safe, Finality::Finalized] {
        let stories = [at(Some(64)), at(Some(u64::MAX)), at(Some(32))];
        let (nodes, _fakes) = nodes_with(&stories, None, finality).await;
        assert_eq!(nodes.tip().await.unwrap(), Tip { head: 100, final_up_to: Some(64) });
        let (nodes, _fakes) = nodes_with(&[at(Some(64)), at(None)], None, finality).await;
        assert_eq!(nodes.tip().await.unwrap().final_up_to, None);
    }
}

#[tokio::test]
async fn of_nonces_the_quorum_says_what_is_mined_and_anyone_what_may_be_final() {
    let counts = |latest, past| Story { counts: (latest, past), ..HONEST };
    let used = |stories: [Story; 3]| async move {
        let (nodes, _fakes) = nodes_of(&stories).await;
        nodes.used_nonces(&[ACCOUNT], Some(98)).await.unwrap()[0]
    };
    let seen = used([counts(9, Some(7)), counts(8, Some(7)), counts(99, Some(6))]).await;
    assert_eq!(seen, UsedNonces { mined: 9, final_at_most: 7 });
    let seen = used([counts(9, None), counts(9, Some(7)), counts(9, Some(7))]).await;
    assert_eq!(seen, UsedNonces { mined: 9, final_at_most: 9 }, "a node that forgot the past");
    let (nodes, _fakes) = nodes_of(&[HONEST]).await;
    let seen = nodes.used_nonces(&[ACCOUNT], None).await.unwrap()[0];
    assert_eq!(seen, UsedNonces { mined: 9, final_at_most: 0 }, "nothing is final yet");
}

#[tokio::test]
async fn the_nonce_that_an_account_is_compared_with_is_agreed_on() {
    let counts = |latest| Story { counts: (latest, None), ..HONEST };
    let (nodes, _fakes) = nodes_of(&[counts(5), counts(99), counts(5)]).await;
    assert_eq!(nodes.transaction_count(ACCOUNT).await.unwrap(), 5);
    let (nodes, _fakes) = nodes_of(&[counts(5), counts(6)]).await;
    let error = nodes.transaction_count(ACCOUNT).await.unwrap_err();
    assert!(matches!(error, RpcError::NoQuorum { needed: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn the_lowest_balance_counts() {
    let has = |balance| Story { balance, ..HONEST };
    let (nodes, _fakes) = nodes_of(&[has(1_000), has(7), has(1)]).await;
    assert_eq!(nodes.balances(ACCOUNT, None).await.unwrap().native, U256::from(7));
}

#[tokio::test]
async fn a_node_that_is_away_is_replaced_and_below_the_quorum_nothing_is_read() {
    let (nodes, fakes) = nodes_of(&[HONEST, HONEST, HONEST]).await;
    fakes[0].behave(Manner::Status(502));
    assert_eq!(block_hash(&nodes).await, Some(0xbb));
    fakes[1].behave(Manner::Silent);
    let error = nodes.receipts(&[HASH]).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RpcError::NoQuorum { agreed: 1, needed: 2, .. }), "{text}");
    assert!(text.contains("502"), "it says why: {text}");
    for fake in &fakes {
        fake.behave(Manner::Proper);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while nodes.receipts(&[HASH]).await.is_err() {
        assert!(Instant::now() < deadline, "they are back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_node_of_another_chain_counts_for_nothing_and_the_others_go_on() {
    let wrong = FakeNode::start(|_, _| Ok(json!("0x5"))).await;
    let right = node(HONEST).await;
    let client = client(&[], Duration::from_secs(1)).unwrap();
    let endpoints = [&wrong, &right, &right]
        .map(|fake| Endpoint::new(fake.url.parse().unwrap(), client.clone(), 1));
    let panel = Panel::new(endpoints.into(), None, Duration::from_secs(2));
    let nodes = Nodes::new(panel, Finality::Depth, 3);
    assert_eq!(block_hash(&nodes).await, Some(0xbb));
    assert_eq!(wrong.count("eth_getTransactionReceipt"), 0);
    let labels: Vec<&str> = nodes.endpoints().iter().map(|node| node.label()).collect();
    assert_eq!(labels[2], format!("{} (2)", labels[1]), "two at one place are told apart");
}

#[tokio::test]
async fn a_read_waits_for_a_node_at_its_rate_limit_when_nobody_else_is_left() {
    let asked = Arc::new(AtomicU64::new(0));
    let of_node = Arc::clone(&asked);
    let fake = FakeNode::start(move |method, _| match method {
        "eth_getBalance" if of_node.fetch_add(1, Ordering::SeqCst) == 0 => {
            Err((429, "too many".into()))
        }
        "eth_getBalance" => Ok(json!("0x7")),
        method => unknown(method),
    })
    .await;
    let client = client(&[], Duration::from_secs(1)).unwrap();
    let endpoint = Endpoint::new(fake.url.parse().unwrap(), client, 1);
    let panel = Panel::new(vec![endpoint], None, Duration::from_secs(2));
    let nodes = Nodes::new(panel, Finality::Depth, 3);
    assert_eq!(nodes.balances(ACCOUNT, None).await.unwrap().native, U256::from(7));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_node_that_lags_is_asked_after_the_others() {
    let (nodes, fakes) = nodes_of(&[Story { head: 10, ..HONEST }, HONEST, HONEST]).await;
    nodes.tip().await.unwrap();
    block_hash(&nodes).await;
    assert_eq!(fakes[0].count("eth_getTransactionReceipt"), 0);
}

#[tokio::test]
async fn bytes_go_to_every_node_whatever_one_of_them_does() {
    let (nodes, fakes) = nodes_of(&[HONEST, HONEST, HONEST]).await;
    fakes[0].behave(Manner::Status(503));
    nodes.send_again(&[(HASH, vec![2])]).await;
    let sent: Vec<usize> = fakes.iter().map(|fake| fake.count("eth_sendRawTransaction")).collect();
    assert_eq!(sent, [0, 1, 1]);
}

#[tokio::test]
async fn what_is_counted_names_nodes_without_their_credentials() {
    let fake = node(HONEST).await;
    let url = fake.url.replace("http://", "http://user:hunter2@") + "/v3/apikey9";
    let client = client(&[], Duration::from_secs(1)).unwrap();
    let endpoint = Endpoint::new(url.parse().unwrap(), client, 1);
    let nodes =
        Nodes::new(Panel::new(vec![endpoint], None, Duration::from_secs(2)), Finality::Depth, 3);
    nodes.tip().await.unwrap();
    let mut text = String::new();
    let network = super::super::node_counts::Network {
        name: "eip155:1",
        nodes: nodes.endpoints(),
        contradictions: 3,
        heads: &Heads::new(vec!["ws://h".parse().unwrap()], 1).unwrap(),
    };
    super::super::node_counts::write(&[network], &mut text);
    let labels = format!("network=\"eip155:1\",node=\"{}\"", fake.url);
    for line in [
        format!("tidegate_node_standing{{{labels},standing=\"up\"}} 1"),
        format!("tidegate_node_standing{{{labels},standing=\"wrong_chain\"}} 0"),
        format!("tidegate_node_calls_total{{{labels}}} 2"),
        format!("tidegate_node_transport_errors_total{{{labels}}} 0"),
        format!("tidegate_node_head{{{labels}}} 100"),
        format!("tidegate_node_exchange_duration_seconds_count{{{labels}}} 2"),
        "tidegate_head_subscription_up{network=\"eip155:1\"} 0".to_owned(),
        "tidegate_node_contradictions_total{network=\"eip155:1\"} 3".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for secret in ["user", "hunter2", "apikey9"] {
        assert!(!text.contains(secret), "{text}");
    }
}
