//! What an oracle looks at: every byte string that a node was sent, and everything that was ever
//! mined, also what a reorganisation took back.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::block::MinedTransaction;
use super::chain::Chain;
use super::view::{self, Transfer};

/// Bytes that a client sent to a node. Their place in the list is the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Which node, in the order of the network.
    pub node: usize,
    pub at_ms: u64,
    pub raw: Vec<u8>,
    /// The hash, where the node took them, or the text of its refusal.
    pub answer: Result<B256, String>,
}

/// A transaction that is or was in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    pub tx_hash: B256,
    pub sender: Address,
    pub nonce: u64,
    pub block: u64,
    pub block_hash: B256,
    /// Whether the block is still there.
    pub is_canonical: bool,
    pub succeeded: bool,
    pub fee_wei: U256,
    /// What it moved; empty where it was reverted.
    pub transfers: Vec<Transfer>,
}

/// Is called, and waited for, before a node looks at bytes that it was sent.
pub(super) type Hook = Arc<dyn Fn(usize, Vec<u8>) -> BoxFuture<'static, ()> + Send + Sync>;

/// The hook that a test set, if any.
#[derive(Default)]
pub(super) struct HookSlot(pub(super) Option<Hook>);

impl fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a hook" } else { "no hook" })
    }
}

/// What was replaced first, oldest first; then what is on the chain now.
pub(super) fn inclusions(chain: &Chain) -> Vec<Inclusion> {
    let orphans = chain
        .orphans()
        .iter()
        .map(|orphan| inclusion(chain, orphan.number, orphan.block_hash, false, &orphan.mined));
    let canonical = chain.blocks_between(0, u64::MAX).flat_map(|(number, block)| {
        let hash = chain.header(number).map(|header| header.hash).unwrap_or_default();
        block.transactions.iter().map(move |mined| inclusion(chain, number, hash, true, mined))
    });
    orphans.chain(canonical).collect()
}

fn inclusion(
    chain: &Chain,
    block: u64,
    block_hash: B256,
    is_canonical: bool,
    mined: &MinedTransaction,
) -> Inclusion {
    Inclusion {
        tx_hash: mined.transaction.hash,
        sender: mined.transaction.sender,
        nonce: mined.transaction.nonce(),
        block,
        block_hash,
        is_canonical,
        succeeded: mined.execution.succeeded,
        fee_wei: U256::from(mined.execution.gas_used).saturating_mul(U256::from(mined.price)),
        transfers: view::transfers_of(chain, block, mined).collect(),
    }
}

impl Inclusion {
    pub(super) fn view(&self) -> Value {
        json!({
            "tx_hash": self.tx_hash.to_string(),
            "sender": self.sender.to_string(),
            "nonce": self.nonce,
            "block": self.block,
            "block_hash": self.block_hash.to_string(),
            "canonical": self.is_canonical,
            "succeeded": self.succeeded,
            "fee_wei": self.fee_wei.to_string(),
            "transfers": self.transfers,
        })
    }
}

impl Sighting {
    pub(super) fn view(&self) -> Value {
        json!({
            "node": self.node,
            "at_ms": self.at_ms,
            "raw": alloy_primitives::hex::encode_prefixed(&self.raw),
            "hash": self.answer.as_ref().ok().map(B256::to_string),
            "refusal": self.answer.as_ref().err(),
        })
    }
}
