//! Finding who used a nonce, on nodes that know all of the past or little of it.

use std::time::Duration;

use alloy_primitives::address;

use super::super::asking::Panel;
use super::super::fake_node::{FakeNode, unknown};
use super::super::rpc::client;
use super::*;
use crate::chain::config::Finality;

const ACCOUNT: Address = address!("00000000000000000000000000000000000000a1");
const HEAD: u64 = 1_000;

/// A node whose account sent a transaction in each of these blocks, and that knows the state of
/// its newest `remembers` blocks.
async fn node(mined_in: Vec<u64>, remembers: u64) -> FakeNode {
    FakeNode::start(move |method, params| match method {
        "eth_blockNumber" => Ok(json!(format!("{HEAD:#x}"))),
        "eth_getTransactionCount" => {
            let block = quantity(&params[1]).unwrap_or(HEAD);
            if block + remembers <= HEAD {
                return Err((-32_000, "missing trie node".into()));
            }
            let count = mined_in.iter().filter(|mined| **mined <= block).count();
            Ok(json!(format!("{count:#x}")))
        }
        "eth_getBlockByNumber" => {
            let block = quantity(&params[0]).unwrap();
            let of_block = mined_in.iter().enumerate().filter(|(_, mined)| **mined == block);
            let transactions: Vec<Value> = of_block
                .map(|(nonce, _)| {
                    json!({
                        "hash": format!("0x{nonce:064x}"), "from": format!("{ACCOUNT:#x}"),
                        "to": null, "nonce": format!("{nonce:#x}"), "value": "0x5",
                        "input": "0x0102", "type": "0x2",
                    })
                })
                .collect();
            let hash = format!("0x{block:064x}");
            Ok(json!({ "hash": hash, "number": params[0], "transactions": transactions }))
        }
        "eth_feeHistory" => Ok(json!({
            "oldestBlock": "0x1", "baseFeePerGas": ["0x10", "0x20", "0x30", "0x40"],
            "gasUsedRatio": [0.5, 0.0, 0.1], "reward": [["0x3"], ["0x0"], ["0x9"]],
        })),
        "eth_estimateGas" if params[0]["data"] == "0x" => Ok(json!("0x5208")),
        "eth_estimateGas" => Err((3, "execution reverted".into())),
        method => unknown(method),
    })
    .await
}

fn nodes(fake: &FakeNode) -> Nodes {
    let client = client(&[], Duration::from_secs(2)).unwrap();
    let endpoint = Endpoint::new(fake.url.parse().unwrap(), client, 1);
    Nodes::new(Panel::new(vec![endpoint], None, Duration::from_secs(1)), Finality::Depth, 1)
}

#[tokio::test]
async fn the_transaction_that_used_a_nonce_is_found_wherever_it_was_mined() {
    let mined_in = vec![0, 1, 2, 2, 2, 500, 501, 900, 999, 1_000, 1_000];
    let fake = node(mined_in.clone(), HEAD + 1).await;
    let nodes = nodes(&fake);
    for (nonce, block) in mined_in.iter().enumerate() {
        let earlier = mined_in[..nonce].last().copied().unwrap_or(0);
        for hint in [0, block.saturating_sub(1).min(earlier)] {
            if *block == 0 && hint == 0 {
                continue;
            }
            let found = nodes.find_nonce(ACCOUNT, nonce as u64, hint).await.unwrap();
            let found = found.unwrap_or_else(|| panic!("nonce {nonce} from block {hint}"));
            assert_eq!(found.block_number, *block, "nonce {nonce} from block {hint}");
            assert_eq!(found.hash, B256::from(U256::from(nonce)));
            assert_eq!((found.to, found.value, found.input.len()), (None, U256::from(5), 2));
        }
    }
    let calls = fake.count("eth_getTransactionCount");
    assert!(calls < mined_in.len() * 2 * 30, "by halves, not block by block: {calls}");
    assert_eq!(nodes.find_nonce(ACCOUNT, 11, 0).await.unwrap(), None, "not used yet");
}

#[tokio::test]
async fn a_node_with_a_short_memory_finds_what_is_recent_and_does_not_guess_the_rest() {
    let fake = node(vec![10, 950, 998], 128).await;
    let nodes = nodes(&fake);
    let found = nodes.find_nonce(ACCOUNT, 2, 0).await.unwrap().unwrap();
    assert_eq!(found.block_number, 998);
    let found = nodes.find_nonce(ACCOUNT, 1, 940).await.unwrap().unwrap();
    assert_eq!(found.block_number, 950);
    assert_eq!(nodes.find_nonce(ACCOUNT, 0, 0).await.unwrap(), None);
    assert_eq!(nodes.find_nonce(ACCOUNT, 1, 960).await.unwrap(), None, "a hint that is wrong");
}

#[tokio::test]
async fn fees_and_gas_are_read_as_proposals() {
    let fake = node(Vec::new(), 1).await;
    let nodes = nodes(&fake);
    let fees = nodes.fee_history().await.unwrap();
    assert_eq!(fees, FeeHistory { base_fee_next: 0x40, priority_fee: 9 });
    let gas = |data: &'static [u8]| nodes.estimate_gas(ACCOUNT, ACCOUNT, U256::ZERO, data);
    assert_eq!(gas(&[]).await.unwrap(), 21_000);
    assert!(matches!(gas(&[1]).await, Err(RpcError::Refused { .. })));
}
