//! What the journal of the chain holds: everything that cannot be derived from the clock.

use alloy_primitives::hex;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first record, and only the first.
    Genesis { chain_id: u64, genesis_ms: u64, block_interval_ms: u64 },
    /// A gift from outside the chain; of the chain's own coin without `contract`.
    Endowed { account: String, contract: Option<String>, amount: String },
    /// From this block on.
    BaseFee { from: u64, wei: u64 },
    /// The pool took a transaction.
    Accepted { raw: String },
    /// The pool lost a transaction.
    Evicted { hash: String },
    /// A block with transactions. Empty blocks have no record.
    Mined { number: u64, hashes: Vec<String> },
    /// The blocks from `from` on were replaced by others.
    Reorganised { from: u64, salt: u64, keep_transactions: bool },
}

impl Record {
    pub(super) fn accepted(raw: &[u8]) -> Self {
        Self::Accepted { raw: hex::encode(raw) }
    }
}
