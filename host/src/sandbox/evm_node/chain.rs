//! The chain as a state machine: its blocks, and those that were replaced. What may be mined is
//! told to it by `network`, which knows the nodes and their pools.

use std::collections::{BTreeMap, HashMap};

use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256};

use super::block::{Header, Identity, MinedBlock, MinedTransaction};
use super::erc20::TokenBehaviour;
use super::ledger::{Ledger, TokenConfig};
use super::profile::ClientProfile;
use super::record::Record;
use super::transaction::Decoded;

/// Keeps a runaway test from eating the machine.
pub(super) const MINED_MAX: usize = 2_000_000;

/// How far back a block without transactions is found by its hash.
const HASH_SEARCH_BLOCKS: u64 = 10_000;

/// What a chain is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainConfig {
    pub chain_id: u64,
    pub block_interval_ms: u64,
    /// The base fee at genesis, in wei.
    pub base_fee_wei: u64,
    pub block_gas_max: u64,
    /// How far `safe` and `finalized` are behind the head, in blocks.
    pub safe_depth: u64,
    pub finalized_depth: u64,
    /// What every transaction uses beyond Ethereum's own gas: where it is above zero, 21,000 is not
    /// enough for a plain transfer, as on rollups that charge for their data.
    pub gas_extra: u64,
    pub tokens: Vec<TokenConfig>,
    /// Of the one node that `EvmNode::start` makes.
    pub profile: ClientProfile,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            block_interval_ms: 250,
            base_fee_wei: 1_000_000_000,
            block_gas_max: 30_000_000,
            safe_depth: 2,
            finalized_depth: 4,
            gas_extra: 0,
            tokens: Vec::new(),
            profile: ClientProfile::Geth,
        }
    }
}

/// How far the tags are behind the head; none where the chain has no such block yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finality {
    pub(super) safe_depth: Option<u64>,
    pub(super) finalized_depth: Option<u64>,
}

/// What a block did not hold of what it was to hold.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Their sender's next nonce is another one.
    pub(super) not_in_turn: Vec<B256>,
    /// Their sender cannot pay for them.
    pub(super) unpaid: Vec<B256>,
}

/// A transaction of a block that was replaced.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) number: u64,
    pub(super) block_hash: B256,
    pub(super) mined: MinedTransaction,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) config: ChainConfig,
    identity: Identity,
    pub(super) ledger: Ledger,
    blocks: BTreeMap<u64, MinedBlock>,
    /// Where each mined transaction is: block and place in it.
    mined: HashMap<B256, (u64, usize)>,
    /// What was once mined and is no more, oldest first.
    orphans: Vec<Orphan>,
    /// The base fee, from each of these blocks on.
    base_fees: BTreeMap<u64, u64>,
    /// Which fork the blocks belong to, from each of these on.
    salts: BTreeMap<u64, u64>,
    /// The last block whose content is decided.
    height: u64,
    pub(super) finality: Finality,
    /// What `eth_feeHistory` says that was paid above the base fee, in wei.
    pub(super) tip_wei: u64,
}

impl Chain {
    /// A chain whose block 0 is now.
    pub(super) fn genesis(config: ChainConfig, now_ms: u64) -> (Self, Record) {
        let config = ChainConfig { block_interval_ms: config.block_interval_ms.max(1), ..config };
        let record = Record::Genesis {
            chain_id: config.chain_id,
            genesis_ms: now_ms,
            block_interval_ms: config.block_interval_ms,
        };
        let chain = Self {
            identity: Identity { chain_id: config.chain_id, genesis_ms: now_ms },
            ledger: Ledger::new(&config.tokens, config.gas_extra),
            base_fees: BTreeMap::from([(0, config.base_fee_wei)]),
            blocks: BTreeMap::new(),
            mined: HashMap::new(),
            orphans: Vec::new(),
            salts: BTreeMap::new(),
            height: 0,
            finality: Finality {
                safe_depth: Some(config.safe_depth),
                finalized_depth: Some(config.finalized_depth),
            },
            tip_wei: TIP_WEI,
            config,
        };
        (chain, record)
    }

    /// Takes over what the journal says of its beginning. Another interval than the first would
    /// move every height, so the first one stays.
    pub(super) fn begin(
        &mut self,
        chain_id: u64,
        genesis_ms: u64,
        block_interval_ms: u64,
    ) -> Result<(), String> {
        if chain_id != self.config.chain_id {
            return Err(format!("the chain has id {chain_id}, not {}", self.config.chain_id));
        }
        self.identity = Identity { chain_id, genesis_ms };
        self.config.block_interval_ms = block_interval_ms.max(1);
        Ok(())
    }

    pub(super) fn height_at(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.identity.genesis_ms) / self.config.block_interval_ms
    }

    /// The blocks up to this one have no more transactions than they have now.
    pub(super) fn pass_to(&mut self, number: u64) {
        self.height = self.height.max(number);
    }

    /// Runs transactions in a block.
    pub(super) fn mine(&mut self, number: u64, transactions: Vec<Decoded>) -> LeftOut {
        let base_fee = u128::from(self.base_fee(number));
        let (mut mined, mut left_out, mut gas_used_sum) = (Vec::new(), LeftOut::default(), 0);
        for transaction in transactions {
            if transaction.nonce() != self.ledger.nonce(transaction.sender) {
                left_out.not_in_turn.push(transaction.hash);
                continue;
            }
            let Some(execution) = self.ledger.execute(&transaction, number, base_fee) else {
                left_out.unpaid.push(transaction.hash);
                continue;
            };
            gas_used_sum += execution.gas_used;
            self.mined.insert(transaction.hash, (number, mined.len()));
            let price = transaction.price(base_fee);
            mined.push(MinedTransaction { transaction, execution, price, gas_used_sum });
        }
        if !mined.is_empty() {
            self.blocks.insert(number, MinedBlock::new(mined));
        }
        self.pass_to(number);
        left_out
    }

    /// Where a fork that replaces the last `depth` blocks begins, and its salt.
    pub(super) fn next_fork(&self, depth: u64) -> (u64, u64) {
        let from = (self.height + 1).saturating_sub(depth).max(1);
        (from, self.salts.values().max().map_or(1, |salt| salt + 1))
    }

    /// Puts empty blocks in the place of those from `from` on. Answers their transactions.
    pub(super) fn replace_blocks(&mut self, from: u64, salt: u64) -> Vec<Decoded> {
        let replaced = self.blocks.split_off(&from);
        let hashes: Vec<B256> = replaced
            .iter()
            .map(|(number, block)| {
                self.identity.hash(*number, self.salt(*number), Some(block.transactions_root))
            })
            .collect();
        self.ledger.rewind(from);
        // Later forks are replaced too.
        self.salts.split_off(&from);
        self.salts.insert(from, salt);
        let mut transactions = Vec::new();
        for ((number, block), block_hash) in replaced.into_iter().zip(hashes) {
            for mined in block.transactions {
                self.mined.remove(&mined.transaction.hash);
                transactions.push(mined.transaction.clone());
                self.orphans.push(Orphan { number, block_hash, mined });
            }
        }
        transactions
    }

    pub(super) fn orphans(&self) -> &[Orphan] {
        &self.orphans
    }

    /// The last block whose content is decided, whatever readers see.
    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn is_full(&self) -> bool {
        self.mined.len() >= MINED_MAX
    }

    pub(super) fn base_fee(&self, number: u64) -> u64 {
        self.base_fees.range(..=number).next_back().map_or(0, |(_, wei)| *wei)
    }

    /// From this block on.
    pub(super) fn set_base_fee(&mut self, from: u64, wei: u64) -> Record {
        self.base_fees.insert(from, wei);
        Record::BaseFee { from, wei }
    }

    /// The next block after `number` in which the base fee is another one.
    pub(super) fn next_base_fee_change(&self, number: u64) -> Option<u64> {
        self.base_fees.range(number + 1..).next().map(|(block, _)| *block)
    }

    /// Does nothing where there is no such token.
    pub(super) fn set_token(&mut self, contract: Address, behaviour: TokenBehaviour) -> Record {
        self.ledger.set_token(contract, behaviour);
        Record::Token { contract: contract.to_string(), behaviour }
    }

    fn salt(&self, number: u64) -> u64 {
        self.salts.range(..=number).next_back().map_or(0, |(_, salt)| *salt)
    }

    fn hash_of(&self, number: u64) -> B256 {
        let root = self.blocks.get(&number).map(|block| block.transactions_root);
        self.identity.hash(number, self.salt(number), root)
    }

    pub(super) fn header(&self, number: u64) -> Option<Header> {
        let block = self.blocks.get(&number);
        let elapsed_ms = number.saturating_mul(self.config.block_interval_ms);
        (number <= self.height).then(|| Header {
            number,
            hash: self.hash_of(number),
            parent_hash: number.checked_sub(1).map_or(B256::ZERO, |parent| self.hash_of(parent)),
            timestamp_s: self.identity.genesis_ms.saturating_add(elapsed_ms) / 1000,
            base_fee: self.base_fee(number),
            gas_used: block.map_or(0, |block| block.gas_used),
            transactions_root: block.map_or(EMPTY_ROOT_HASH, |block| block.transactions_root),
        })
    }

    /// The block with this hash, not above `head`.
    pub(super) fn find_block(&self, hash: B256, head: u64) -> Option<u64> {
        let recent = head.saturating_sub(HASH_SEARCH_BLOCKS)..=head;
        recent
            .rev()
            .chain(self.blocks.keys().rev().copied().filter(|number| *number <= head))
            .find(|number| self.hash_of(*number) == hash)
    }

    /// The transactions of a block; none of them for one that is empty or not there.
    pub(super) fn transactions(&self, number: u64) -> &[MinedTransaction] {
        self.blocks.get(&number).map_or(&[], |block| &block.transactions)
    }

    /// A mined transaction, with its block and its place there.
    pub(super) fn find_mined(&self, hash: &B256) -> Option<(u64, usize, &MinedTransaction)> {
        let (number, index) = *self.mined.get(hash)?;
        self.transactions(number).get(index).map(|one| (number, index, one))
    }

    /// Blocks with transactions, oldest first.
    pub(super) fn blocks_between(
        &self,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (u64, &MinedBlock)> {
        let to = to.min(self.height);
        // `range` panics where `from` is behind `to`.
        let range = (from <= to).then(|| self.blocks.range(from..=to));
        range.into_iter().flatten().map(|(number, block)| (*number, block))
    }
}

/// What is paid above the base fee until somebody says otherwise.
const TIP_WEI: u64 = 1_000_000_000;
