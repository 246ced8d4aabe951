//! The nodes of one chain, and what happens among them: what one takes goes to the others, blocks
//! are built from their pools in turn, and every transaction that anyone heard of is remembered.
//!
//! A state machine: what time it is, is told to it; what must be kept, it says. A command answers
//! records. Whoever calls it writes them to the journal before anybody sees their effect, and gives
//! them to `apply` after a restart; the same records make the same network.

use std::collections::HashMap;

use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, hex, keccak256};

use super::chain::{Chain, ChainConfig};
use super::node::Node;
use super::profile::ClientProfile;
use super::record::Record;
use super::refusal::Refusal;
use super::transaction::Decoded;

#[derive(Debug)]
pub(super) struct Network {
    pub(super) chain: Chain,
    /// Never empty.
    pub(super) nodes: Vec<Node>,
    /// Every well-formed transaction that a node heard of, and whether one took it.
    pub(super) heard: HashMap<B256, (Decoded, bool)>,
    /// Those that were taken, by sender and nonce, in the order in which they came.
    pub(super) attempts: HashMap<(Address, u64), Vec<B256>>,
    /// Blocks stay empty.
    pub(super) mining_paused: bool,
    /// Of several attempts of a nonce, blocks hold the first that anyone took.
    pub(super) mines_first_attempts: bool,
    /// What the next block holds before all else, whether or not it waits anywhere.
    pub(super) included_next: Vec<B256>,
}

/// What becomes of transactions whose block is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They wait again.
    Wait,
    /// They are gone from every pool.
    Dropped,
    /// Another attempt of the same nonce waits instead, where there is one.
    Swapped,
}

impl Network {
    /// A network whose block 0 is now.
    pub(super) fn genesis(
        config: ChainConfig,
        profiles: &[ClientProfile],
        now_ms: u64,
    ) -> (Self, Record) {
        let (chain, record) = Chain::genesis(config, now_ms);
        let network = Self {
            chain,
            nodes: profiles.iter().map(|profile| Node::new(*profile)).collect(),
            heard: HashMap::new(),
            attempts: HashMap::new(),
            mining_paused: false,
            mines_first_attempts: false,
            included_next: Vec::new(),
        };
        (network, record)
    }

    /// Does again what a record says.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Genesis { chain_id, genesis_ms, block_interval_ms } => {
                self.chain.begin(*chain_id, *genesis_ms, *block_interval_ms)?;
            }
            Record::Endowed { account, contract, amount } => {
                let amount = amount.parse().map_err(|_| "not an amount")?;
                let account = address(account)?;
                match contract {
                    None => self.chain.ledger.endow(account, amount),
                    Some(contract) => {
                        self.chain.ledger.endow_token(address(contract)?, account, amount);
                    }
                }
            }
            Record::BaseFee { from, wei } => {
                self.chain.set_base_fee(*from, *wei);
            }
            Record::Token { contract, behaviour } => {
                self.chain.set_token(address(contract)?, *behaviour);
            }
            Record::Heard { raw } => {
                let decoded = self.decode(raw)?;
                self.remember(&decoded, false);
            }
            Record::Accepted { raw, node } => {
                let decoded = self.decode(raw)?;
                self.remember(&decoded, true);
                self.nodes.get_mut(*node).ok_or("no such node")?.pool.insert(decoded);
            }
            Record::Evicted { hash, node } => {
                let hash = hash.parse().map_err(|_| "not a hash")?;
                let height = self.chain.height();
                for (index, one) in self.nodes.iter_mut().enumerate() {
                    if node.is_none_or(|node| node == index) {
                        one.evict(&hash, height);
                    }
                }
            }
            Record::Mined { number, hashes } => {
                let find = |hash: &String| {
                    let hash: B256 = hash.parse().ok()?;
                    self.heard.get(&hash).map(|(decoded, _)| decoded.clone())
                };
                let found: Option<Vec<Decoded>> = hashes.iter().map(find).collect();
                let transactions = found.ok_or("a mined transaction that nobody heard of")?;
                let left_out = self.mine(*number, transactions);
                if !left_out.unpaid.is_empty() || !left_out.not_in_turn.is_empty() {
                    return Err("a mined transaction cannot be run".to_owned());
                }
            }
            Record::Reorganised { from, salt, keep_transactions, swap } => {
                let fate = match (keep_transactions, swap) {
                    (false, _) => Fate::Dropped,
                    (true, false) => Fate::Wait,
                    (true, true) => Fate::Swapped,
                };
                self.replace_blocks(*from, *salt, fate);
            }
        }
        Ok(())
    }

    fn decode(&self, raw: &str) -> Result<Decoded, String> {
        let raw = hex::decode(raw).map_err(|error| error.to_string())?;
        Decoded::new(&raw, self.chain.config.chain_id)
            .map_err(|_| "not a transaction of this chain".to_owned())
    }

    /// After the last record: what waits now is mined from here on, for blocks that passed while
    /// nobody looked may have been seen empty before.
    pub(super) fn resume(&mut self, now_ms: u64) {
        self.chain.pass_to(self.chain.height_at(now_ms));
    }

    /// A node is sent bytes by a client.
    pub(super) fn send(&mut self, node: usize, raw: &[u8]) -> (Result<B256, Refusal>, Vec<Record>) {
        let decoded = match self.decode_for(node, raw) {
            Ok(decoded) => decoded,
            Err(refusal) => return (Err(refusal), Vec::new()),
        };
        let hash = decoded.hash;
        match self.nodes[node].judge(&decoded, &self.chain) {
            // On another chain it would be taken, and nothing of it is ours.
            Ok(()) if self.nodes[node].troubles.chain_id.is_some() => (Ok(hash), Vec::new()),
            Ok(()) => (Ok(hash), self.take(node, &decoded)),
            Err(refusal) => (Err(refusal), self.heard_of(&decoded, raw)),
        }
    }

    /// The same, and the node keeps nothing.
    pub(super) fn hear(&mut self, node: usize, raw: &[u8]) -> (Result<B256, Refusal>, Vec<Record>) {
        match self.decode_for(node, raw) {
            Ok(decoded) => {
                let judged = self.nodes[node].judge(&decoded, &self.chain);
                (judged.map(|()| decoded.hash), self.heard_of(&decoded, raw))
            }
            Err(refusal) => (Err(refusal), Vec::new()),
        }
    }

    fn decode_for(&self, node: usize, raw: &[u8]) -> Result<Decoded, Refusal> {
        let known = self.heard.get(&keccak256(raw)).map(|(decoded, _)| decoded.clone());
        match known.filter(|_| self.nodes[node].troubles.chain_id.is_none()) {
            Some(decoded) => Ok(decoded),
            None => self.nodes[node].decode(raw, &self.chain),
        }
    }

    fn heard_of(&mut self, transaction: &Decoded, raw: &[u8]) -> Vec<Record> {
        // A node that says it is on another chain takes other transactions.
        let ours = transaction.envelope.chain_id() == Some(self.chain.config.chain_id);
        let is_new = ours && self.remember(transaction, false);
        is_new.then(|| Record::heard(raw)).into_iter().collect()
    }

    /// The node's pool takes a transaction, and tells the others, of which each judges for itself.
    fn take(&mut self, node: usize, transaction: &Decoded) -> Vec<Record> {
        self.remember(transaction, true);
        let raw = hex::encode(transaction.envelope.encoded_2718());
        let mut records = Vec::new();
        for index in self.heard_by(node) {
            if index == node || self.nodes[index].judge(transaction, &self.chain).is_ok() {
                self.nodes[index].pool.insert(transaction.clone());
                records.push(Record::Accepted { raw: raw.clone(), node: index });
            }
        }
        records
    }

    /// The node itself, and those that hear what it says.
    fn heard_by(&self, node: usize) -> Vec<usize> {
        let speaks = self.nodes[node].is_connected();
        let hears = |(index, other): (usize, &Node)| {
            (index == node || speaks && !other.troubles.isolated).then_some(index)
        };
        self.nodes.iter().enumerate().filter_map(hears).collect()
    }

    /// Nodes that can hear each other again tell what they hold.
    pub(super) fn share_pools(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for node in 0..self.nodes.len() {
            let held: Vec<Decoded> = self.nodes[node].pool.all().into_iter().cloned().collect();
            for transaction in held {
                let raw = hex::encode(transaction.envelope.encoded_2718());
                for index in self.heard_by(node) {
                    if self.nodes[index].judge(&transaction, &self.chain).is_ok() {
                        self.nodes[index].pool.insert(transaction.clone());
                        records.push(Record::Accepted { raw: raw.clone(), node: index });
                    }
                }
            }
        }
        records
    }

    /// Whether it was unheard of.
    fn remember(&mut self, transaction: &Decoded, taken: bool) -> bool {
        let before = self.heard.get(&transaction.hash).map(|(_, taken)| *taken);
        if before.is_none() || taken && before == Some(false) {
            self.heard.insert(transaction.hash, (transaction.clone(), taken));
        }
        if taken && before != Some(true) {
            let attempts = self.attempts.entry((transaction.sender, transaction.nonce()));
            attempts.or_default().push(transaction.hash);
        }
        before.is_none()
    }

    /// The pool of one node, or of all, loses one transaction, or all.
    pub(super) fn evict(&mut self, node: Option<usize>, hash: Option<B256>) -> Vec<Record> {
        let height = self.chain.height();
        let mut records = Vec::new();
        for (index, one) in self.nodes.iter_mut().enumerate() {
            if node.is_some_and(|node| node != index) {
                continue;
            }
            let all = || one.pool.all().iter().map(|held| held.hash).collect();
            let hashes: Vec<B256> = hash.map_or_else(all, |hash| vec![hash]);
            for hash in hashes {
                if one.evict(&hash, height) {
                    records.push(Record::Evicted { hash: hash.to_string(), node: Some(index) });
                }
            }
        }
        records
    }

    /// Puts another fork in the place of the last `depth` blocks.
    pub(super) fn reorganise(&mut self, depth: u64, fate: Fate) -> Record {
        let (from, salt) = self.chain.next_fork(depth);
        self.replace_blocks(from, salt, fate);
        Record::Reorganised {
            from,
            salt,
            keep_transactions: fate != Fate::Dropped,
            swap: fate == Fate::Swapped,
        }
    }

    fn replace_blocks(&mut self, from: u64, salt: u64, fate: Fate) {
        for transaction in self.chain.replace_blocks(from, salt) {
            let waits = match fate {
                Fate::Dropped => continue,
                Fate::Wait => transaction,
                Fate::Swapped => self.other_attempt(transaction),
            };
            for node in &mut self.nodes {
                node.pool.insert(waits.clone());
            }
        }
    }

    fn other_attempt(&self, transaction: Decoded) -> Decoded {
        let attempts = self.attempts.get(&(transaction.sender, transaction.nonce()));
        let other = attempts.into_iter().flatten().find(|hash| **hash != transaction.hash);
        other.and_then(|hash| self.heard.get(hash)).map_or(transaction, |(other, _)| other.clone())
    }
}

fn address(text: &str) -> Result<Address, &'static str> {
    text.parse().map_err(|_| "not an address")
}
