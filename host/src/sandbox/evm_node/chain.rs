//! The chain as a state machine: what time it is, is told to it; what must be kept, it says.
//!
//! A command answers records. Whoever calls it writes them to the journal before anybody sees
//! their effect, and gives them to `apply` after a restart; the same records make the same chain.

use std::collections::{BTreeMap, HashMap};

use alloy_consensus::{EMPTY_ROOT_HASH, Transaction};
use alloy_primitives::{Address, B256, U256, hex};

use super::block::{Header, Identity, MinedBlock, MinedTransaction};
use super::ledger::{Ledger, TokenConfig};
use super::pool::Pool;
use super::record::Record;
use super::refusal::{ClientProfile, Refusal};
use super::transaction::{Decoded, intrinsic_gas};

/// Keeps a runaway test from eating the machine.
const MINED_MAX: usize = 2_000_000;

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
    pub tokens: Vec<TokenConfig>,
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
            tokens: Vec::new(),
            profile: ClientProfile::Geth,
        }
    }
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) config: ChainConfig,
    identity: Identity,
    pub(super) ledger: Ledger,
    pub(super) pool: Pool,
    blocks: BTreeMap<u64, MinedBlock>,
    /// Where each mined transaction is: block and place in it.
    mined: HashMap<B256, (u64, usize)>,
    /// The base fee, from each of these blocks on.
    base_fees: BTreeMap<u64, u64>,
    /// Which fork the blocks belong to, from each of these on.
    salts: BTreeMap<u64, u64>,
    /// The last block whose content is decided.
    height: u64,
    /// Blocks stay empty.
    pub(super) mining_paused: bool,
    /// How many blocks readers are behind.
    pub(super) lag: u64,
}

impl Chain {
    /// A chain whose block 0 is now.
    pub(super) fn genesis(config: ChainConfig, now_ms: u64) -> (Self, Record) {
        let record = Record::Genesis {
            chain_id: config.chain_id,
            genesis_ms: now_ms,
            block_interval_ms: config.block_interval_ms.max(1),
        };
        let identity = Identity { chain_id: config.chain_id, genesis_ms: now_ms };
        let chain = Self {
            ledger: Ledger::new(&config.tokens),
            base_fees: BTreeMap::from([(0, config.base_fee_wei)]),
            config: ChainConfig { block_interval_ms: config.block_interval_ms.max(1), ..config },
            identity,
            pool: Pool::default(),
            blocks: BTreeMap::new(),
            mined: HashMap::new(),
            salts: BTreeMap::new(),
            height: 0,
            mining_paused: false,
            lag: 0,
        };
        (chain, record)
    }

    /// Does again what a record says.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Genesis { chain_id, genesis_ms, block_interval_ms } => {
                if *chain_id != self.config.chain_id {
                    return Err(format!(
                        "the chain has id {chain_id}, not {}",
                        self.config.chain_id
                    ));
                }
                // Another interval would move every height, so the first one stays.
                self.identity = Identity { chain_id: *chain_id, genesis_ms: *genesis_ms };
                self.config.block_interval_ms = (*block_interval_ms).max(1);
            }
            Record::Endowed { account, contract, amount } => {
                let amount = amount.parse().map_err(|_| "not an amount")?;
                let account: Address = account.parse().map_err(|_| "not an address")?;
                match contract {
                    None => self.ledger.endow(account, amount),
                    Some(contract) => {
                        let contract = contract.parse().map_err(|_| "not an address")?;
                        self.ledger.endow_token(contract, account, amount);
                    }
                }
            }
            Record::BaseFee { from, wei } => {
                self.base_fees.insert(*from, *wei);
            }
            Record::Accepted { raw } => {
                let raw = hex::decode(raw).map_err(|error| error.to_string())?;
                let decoded = Decoded::new(&raw, self.config.chain_id)
                    .map_err(|_| "not a transaction of this chain")?;
                self.pool.insert(decoded);
            }
            Record::Evicted { hash } => {
                self.pool.remove(&hash.parse().map_err(|_| "not a hash")?);
            }
            Record::Mined { number, hashes } => {
                let hashes: Result<Vec<B256>, _> = hashes.iter().map(|hash| hash.parse()).collect();
                let dropped = self.mine(*number, &hashes.map_err(|_| "not a hash")?);
                if !dropped.is_empty() {
                    return Err("a mined transaction cannot be paid for".to_owned());
                }
            }
            Record::Reorganised { from, salt, keep_transactions } => {
                self.replace_blocks(*from, *salt, *keep_transactions);
            }
        }
        Ok(())
    }

    /// After the last record: what waits now is mined from here on, for blocks that passed while
    /// nobody looked may have been seen empty before.
    pub(super) fn resume(&mut self, now_ms: u64) {
        self.height = self.height.max(self.height_of(now_ms));
    }

    fn height_of(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.identity.genesis_ms) / self.config.block_interval_ms
    }

    /// Mines what is due. Must be called before anything is read or changed. A clock that goes
    /// back changes nothing.
    pub(super) fn advance(&mut self, now_ms: u64) -> Vec<Record> {
        let target = self.height_of(now_ms);
        let mut records = Vec::new();
        while self.height < target {
            let number = self.height + 1;
            let base_fee = u128::from(self.base_fee(number));
            let due = if self.mining_paused || self.pool.is_empty() {
                Vec::new()
            } else {
                self.pool.select(&self.ledger, base_fee, self.config.block_gas_max)
            };
            if due.is_empty() {
                // Nothing that waits becomes due by time alone.
                self.height = target;
                break;
            }
            let dropped = self.mine(number, &due);
            records.extend(dropped.iter().map(|hash| Record::Evicted { hash: hash.to_string() }));
            let hashes: Vec<String> =
                due.iter().filter(|hash| !dropped.contains(hash)).map(B256::to_string).collect();
            if !hashes.is_empty() {
                records.push(Record::Mined { number, hashes });
            }
        }
        records
    }

    /// Runs waiting transactions in a block; answers those that could not be paid for.
    fn mine(&mut self, number: u64, hashes: &[B256]) -> Vec<B256> {
        let base_fee = u128::from(self.base_fee(number));
        let (mut mined, mut dropped, mut gas_used_sum) = (Vec::new(), Vec::new(), 0);
        for hash in hashes {
            let Some(transaction) = self.pool.remove(hash) else {
                dropped.push(*hash);
                continue;
            };
            // A transaction before it of the same sender may have been dropped just now.
            let in_turn = transaction.nonce() == self.ledger.nonce(transaction.sender);
            let execution =
                in_turn.then(|| self.ledger.execute(&transaction, number, base_fee)).flatten();
            let Some(execution) = execution else {
                dropped.push(*hash);
                continue;
            };
            gas_used_sum += execution.gas_used;
            let next_nonce = transaction.nonce() + 1;
            self.pool.drop_used(transaction.sender, next_nonce);
            self.mined.insert(*hash, (number, mined.len()));
            let price = transaction.price(base_fee);
            mined.push(MinedTransaction { transaction, execution, price, gas_used_sum });
        }
        if !mined.is_empty() {
            self.blocks.insert(number, MinedBlock::new(mined));
        }
        self.height = self.height.max(number);
        dropped
    }

    /// Whether the node takes the bytes: the whole of geth's rules, in its order.
    pub(super) fn judge(&self, raw: &[u8]) -> Result<Decoded, Refusal> {
        let profile = self.config.profile;
        let decoded = Decoded::new(raw, self.config.chain_id)?;
        let envelope = &decoded.envelope;
        let (gas, sender) = (envelope.gas_limit(), decoded.sender);
        let (fee, tip) = (decoded.fee_max(), decoded.tip_max());
        let fee_wei = U256::from(gas).saturating_mul(U256::from(fee));
        let cap_wei = U256::from(profile.fee_cap_wei());
        if fee_wei > cap_wei {
            return Err(Refusal::FeeAboveCap { fee_wei, cap_wei });
        }
        if self.pool.get(&decoded.hash).is_some() {
            return Err(Refusal::AlreadyKnown);
        }
        if gas > self.config.block_gas_max {
            return Err(Refusal::ExceedsBlockGas { gas, limit: self.config.block_gas_max });
        }
        if tip > fee {
            return Err(Refusal::TipAboveFee { sender, tip, fee });
        }
        if decoded.nonce() == u64::MAX {
            return Err(Refusal::NonceMax { sender });
        }
        let (needed, floor) = intrinsic_gas(envelope.input(), envelope.is_create());
        if gas < needed {
            return Err(Refusal::IntrinsicGas { gas, needed });
        }
        if gas < floor {
            return Err(Refusal::FloorGas { gas, needed: floor });
        }
        if tip < profile.tip_min() {
            return Err(Refusal::Underpriced { tip, needed: profile.tip_min() });
        }
        if self.mined.len() >= MINED_MAX {
            return Err(Refusal::PoolFull);
        }
        self.pool.judge(&decoded, &self.ledger, profile)?;
        Ok(decoded)
    }

    /// Puts another fork in the place of the last `depth` blocks. Their transactions wait again,
    /// or are gone.
    pub(super) fn reorganise(&mut self, depth: u64, keep_transactions: bool) -> Record {
        let from = (self.height + 1).saturating_sub(depth).max(1);
        let salt = self.salts.values().max().map_or(1, |salt| salt + 1);
        self.replace_blocks(from, salt, keep_transactions);
        Record::Reorganised { from, salt, keep_transactions }
    }

    fn replace_blocks(&mut self, from: u64, salt: u64, keep_transactions: bool) {
        self.ledger.rewind(from);
        // Later forks are replaced too.
        self.salts.split_off(&from);
        self.salts.insert(from, salt);
        for one in self.blocks.split_off(&from).into_values().flat_map(|block| block.transactions) {
            self.mined.remove(&one.transaction.hash);
            if keep_transactions {
                self.pool.insert(one.transaction);
            }
        }
    }

    /// The block that readers take for the newest.
    pub(super) fn head(&self) -> u64 {
        self.height.saturating_sub(self.lag)
    }

    /// The last block whose content is decided, whatever readers see.
    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn base_fee(&self, number: u64) -> u64 {
        self.base_fees.range(..=number).next_back().map_or(0, |(_, wei)| *wei)
    }

    /// From the next block on.
    pub(super) fn set_base_fee(&mut self, wei: u64) -> Record {
        let from = self.height + 1;
        self.base_fees.insert(from, wei);
        Record::BaseFee { from, wei }
    }

    fn hash_of(&self, number: u64) -> B256 {
        let salt = self.salts.range(..=number).next_back().map_or(0, |(_, salt)| *salt);
        let root = self.blocks.get(&number).map(|block| block.transactions_root);
        self.identity.hash(number, salt, root)
    }

    pub(super) fn header(&self, number: u64) -> Option<Header> {
        let block = self.blocks.get(&number);
        let elapsed_ms = number.saturating_mul(self.config.block_interval_ms);
        (number <= self.head()).then(|| Header {
            number,
            hash: self.hash_of(number),
            parent_hash: number.checked_sub(1).map_or(B256::ZERO, |parent| self.hash_of(parent)),
            timestamp_s: self.identity.genesis_ms.saturating_add(elapsed_ms) / 1000,
            base_fee: self.base_fee(number),
            gas_used: block.map_or(0, |block| block.gas_used),
            transactions_root: block.map_or(EMPTY_ROOT_HASH, |block| block.transactions_root),
        })
    }

    pub(super) fn find_block(&self, hash: B256) -> Option<u64> {
        let head = self.head();
        let recent = head.saturating_sub(HASH_SEARCH_BLOCKS)..=head;
        recent
            .rev()
            .chain(self.blocks.keys().rev().copied().filter(|number| *number <= head))
            .find(|number| self.hash_of(*number) == hash)
    }

    /// The transactions of a block; none of them for one that is empty or not there.
    pub(super) fn transactions(&self, number: u64) -> &[MinedTransaction] {
        let block = (number <= self.head()).then(|| self.blocks.get(&number)).flatten();
        block.map_or(&[], |block| &block.transactions)
    }

    /// A mined transaction that readers may see, with its block and its place there.
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
        let to = to.min(self.head());
        // `range` panics where `from` is behind `to`.
        let range = (from <= to).then(|| self.blocks.range(from..=to));
        range.into_iter().flatten().map(|(number, block)| (*number, block))
    }
}
