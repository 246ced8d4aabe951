//! Blocks. Those without transactions are derived when somebody asks for them.

use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_primitives::{B256, Keccak256};

use super::ledger::Execution;
use super::transaction::Decoded;

/// A block with transactions.
#[derive(Debug)]
pub(super) struct MinedBlock {
    pub(super) transactions: Vec<MinedTransaction>,
    pub(super) transactions_root: B256,
    pub(super) gas_used: u64,
}

#[derive(Debug)]
pub(super) struct MinedTransaction {
    pub(super) transaction: Decoded,
    pub(super) execution: Execution,
    /// What was paid for a unit of gas.
    pub(super) price: u128,
    /// Of this and the transactions before it in the block.
    pub(super) gas_used_sum: u64,
}

impl MinedBlock {
    pub(super) fn new(transactions: Vec<MinedTransaction>) -> Self {
        let envelopes: Vec<_> =
            transactions.iter().map(|one| one.transaction.envelope.clone()).collect();
        Self {
            transactions_root: calculate_transaction_root(&envelopes),
            gas_used: transactions.last().map_or(0, |last| last.gas_used_sum),
            transactions,
        }
    }
}

/// What everybody may know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) parent_hash: B256,
    pub(super) timestamp_s: u64,
    pub(super) base_fee: u64,
    pub(super) gas_used: u64,
    pub(super) transactions_root: B256,
}

/// The parts of a hash that are the same in every block of a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) chain_id: u64,
    pub(super) genesis_ms: u64,
}

impl Identity {
    /// A hash does not depend on the parent's: any block's can be told without walking there. What
    /// a parent's hash gives on a real chain, that a replaced block changes all that follow, is
    /// the work of `salt`, which differs from each fork on.
    pub(super) fn hash(&self, number: u64, salt: u64, transactions_root: Option<B256>) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(b"tidegate stand-in block");
        for part in [self.chain_id, self.genesis_ms, number, salt] {
            hasher.update(part.to_be_bytes());
        }
        hasher.update(transactions_root.unwrap_or(EMPTY_ROOT_HASH));
        hasher.finalize()
    }
}
