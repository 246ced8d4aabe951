//! Which transactions a block holds: what the nodes that can be heard have, each in turn.

use alloy_primitives::{Address, B256};

use super::chain::LeftOut;
use super::network::Network;
use super::node::Node;
use super::record::Record;
use super::transaction::Decoded;

impl Network {
    /// Mines what is due. Must be called before anything is read or changed. A clock that goes
    /// back changes nothing.
    pub(super) fn advance(&mut self, now_ms: u64) -> Vec<Record> {
        let target = self.chain.height_at(now_ms);
        let mut records = Vec::new();
        while self.chain.height() < target {
            let number = self.chain.height() + 1;
            let due = self.due(number);
            if due.is_empty() {
                // By time alone only a change of the base fee makes something due.
                let change = self.chain.next_base_fee_change(number).filter(|_| !self.is_idle());
                self.chain.pass_to(change.map_or(target, |change| target.min(change - 1)));
                continue;
            }
            records.extend(self.build(number, due));
        }
        records
    }

    fn is_idle(&self) -> bool {
        self.mining_paused || self.nodes.iter().all(|node| node.pool.is_empty())
    }

    /// What a block holds: what one node has that the others can hear, each in turn.
    fn due(&mut self, number: u64) -> Vec<Decoded> {
        if self.mining_paused {
            return Vec::new();
        }
        let base_fee = u128::from(self.chain.base_fee(number));
        let mut due = self.due_by_force(base_fee);
        let builders: Vec<&Node> = self.nodes.iter().filter(|node| node.is_connected()).collect();
        let first = usize::try_from(number).unwrap_or(0);
        let gas_max = self.chain.config.block_gas_max;
        let selected = (0..builders.len())
            .map(|turn| builders[(first + turn) % builders.len()])
            .map(|node| node.pool.select(&self.chain.ledger, base_fee, gas_max))
            .find(|selected| !selected.is_empty());
        for one in selected.unwrap_or_default() {
            // What was included by force has taken this nonce.
            let taken =
                |other: &Decoded| other.sender == one.sender && other.nonce() == one.nonce();
            if !due.iter().any(taken) {
                due.push(self.attempt_of(one, base_fee));
            }
        }
        due
    }

    /// What is to be included whatever waits, as soon as it is its sender's turn.
    fn due_by_force(&mut self, base_fee: u128) -> Vec<Decoded> {
        let mut due: Vec<Decoded> = Vec::new();
        let (heard, ledger) = (&self.heard, &self.chain.ledger);
        self.included_next.retain(|hash| {
            let Some((decoded, _)) = heard.get(hash) else { return true };
            let next = ledger.nonce(decoded.sender);
            let same = |other: &Decoded| other.sender == decoded.sender;
            if decoded.nonce() == next && decoded.fee_max() >= base_fee && !due.iter().any(same) {
                due.push(decoded.clone());
                return false;
            }
            decoded.nonce() >= next
        });
        due
    }

    /// The attempt of a nonce that blocks hold.
    fn attempt_of(&self, one: Decoded, base_fee: u128) -> Decoded {
        if !self.mines_first_attempts {
            return one;
        }
        let attempts = self.attempts.get(&(one.sender, one.nonce()));
        let first = attempts.into_iter().flatten().filter_map(|hash| self.heard.get(hash));
        let first = first.map(|(decoded, _)| decoded).find(|it| it.fee_max() >= base_fee);
        first.cloned().unwrap_or(one)
    }

    fn build(&mut self, number: u64, due: Vec<Decoded>) -> Vec<Record> {
        let hashes: Vec<B256> = due.iter().map(|one| one.hash).collect();
        let left_out = self.mine(number, due);
        let mut records: Vec<Record> = left_out
            .unpaid
            .iter()
            .map(|hash| Record::Evicted { hash: hash.to_string(), node: None })
            .collect();
        let mined: Vec<String> = hashes
            .iter()
            .filter(|hash| !left_out.unpaid.contains(hash) && !left_out.not_in_turn.contains(hash))
            .map(B256::to_string)
            .collect();
        if !mined.is_empty() {
            records.push(Record::Mined { number, hashes: mined });
        }
        records
    }

    /// Runs transactions in a block, and takes their nonces out of every pool, and what cannot be
    /// paid for.
    pub(super) fn mine(&mut self, number: u64, transactions: Vec<Decoded>) -> LeftOut {
        let senders: Vec<Address> = transactions.iter().map(|one| one.sender).collect();
        let left_out = self.chain.mine(number, transactions);
        for node in &mut self.nodes {
            for hash in &left_out.unpaid {
                node.pool.remove(hash);
            }
            for sender in &senders {
                node.pool.drop_used(*sender, self.chain.ledger.nonce(*sender));
            }
        }
        left_out
    }
}
