//! The chain as one node shows it to its readers: up to the node's head, with the node's pool.

use alloy_primitives::B256;

use super::block::{Header, MinedBlock, MinedTransaction};
use super::chain::{Chain, ChainConfig};
use super::ledger::Ledger;
use super::node::Node;
use super::pool::Pool;

/// A node's view, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) chain: &'a Chain,
    pub(super) node: &'a Node,
    pub(super) config: &'a ChainConfig,
    pub(super) ledger: &'a Ledger,
    pub(super) pool: &'a Pool,
    head: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(chain: &'a Chain, node: &'a Node) -> Self {
        Self {
            chain,
            node,
            config: &chain.config,
            ledger: &chain.ledger,
            pool: &node.pool,
            head: node.head(chain),
        }
    }

    /// The block that readers take for the newest.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn base_fee(&self, number: u64) -> u64 {
        self.chain.base_fee(number)
    }

    /// Whether it has not heard of the newest blocks, and so not of what waits either.
    pub(super) fn is_behind(&self) -> bool {
        self.head < self.chain.height()
    }

    pub(super) fn header(&self, number: u64) -> Option<Header> {
        self.chain.header(number).filter(|_| number <= self.head)
    }

    pub(super) fn find_block(&self, hash: B256) -> Option<u64> {
        self.chain.find_block(hash, self.head)
    }

    pub(super) fn transactions(&self, number: u64) -> &'a [MinedTransaction] {
        if number <= self.head { self.chain.transactions(number) } else { &[] }
    }

    pub(super) fn find_mined(&self, hash: &B256) -> Option<(u64, usize, &'a MinedTransaction)> {
        self.chain.find_mined(hash).filter(|(number, _, _)| *number <= self.head)
    }

    pub(super) fn blocks_between(
        &self,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (u64, &'a MinedBlock)> + use<'a> {
        self.chain.blocks_between(from, to.min(self.head))
    }
}
