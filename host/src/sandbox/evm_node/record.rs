//! What the journal of the chain holds: everything that cannot be derived from the clock.

use alloy_primitives::hex;
use serde::{Deserialize, Serialize};

use super::erc20::TokenBehaviour;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first record, and only the first.
    Genesis { chain_id: u64, genesis_ms: u64, block_interval_ms: u64 },
    /// A gift from outside the chain; of the chain's own coin without `contract`.
    Endowed { account: String, contract: Option<String>, amount: String },
    /// From this block on.
    BaseFee { from: u64, wei: u64 },
    /// How a token behaves from now on.
    Token { contract: String, behaviour: TokenBehaviour },
    /// A node heard of a transaction and did not take it. A block may hold it all the same.
    Heard { raw: String },
    /// A node's pool took a transaction.
    Accepted {
        raw: String,
        #[serde(default)]
        node: usize,
    },
    /// A node's pool lost a transaction; all of them without `node`.
    Evicted {
        hash: String,
        #[serde(default)]
        node: Option<usize>,
    },
    /// A block with transactions. Empty blocks have no record.
    Mined { number: u64, hashes: Vec<String> },
    /// The blocks from `from` on were replaced by others.
    Reorganised {
        from: u64,
        salt: u64,
        keep_transactions: bool,
        /// With `keep_transactions`: another attempt of the same nonce waits instead, if any.
        #[serde(default)]
        swap: bool,
    },
}

impl Record {
    pub(super) fn heard(raw: &[u8]) -> Self {
        Self::Heard { raw: hex::encode(raw) }
    }
}
