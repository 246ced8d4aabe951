//! The transactions that wait to be mined, by sender and nonce.

use std::collections::{BTreeMap, HashMap};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, U256};

use super::ledger::Ledger;
use super::refusal::{ClientProfile, Refusal};
use super::transaction::Decoded;

/// More than geth keeps (5,120 and 1,024), so that a test of many payments is not about this.
const TRANSACTIONS_MAX: usize = 20_000;
const ACCOUNT_TRANSACTIONS_MAX: usize = 5_000;

#[derive(Debug, Default)]
pub(super) struct Pool {
    by_sender: HashMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    transaction: Decoded,
    arrival: u64,
}

impl Pool {
    pub(super) fn get(&self, hash: &B256) -> Option<&Decoded> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        self.by_sender.get(sender)?.get(nonce).map(|waiting| &waiting.transaction)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn hashes(&self) -> Vec<B256> {
        self.by_hash.keys().copied().collect()
    }

    /// The nonce after the last waiting one that has no gap below it.
    pub(super) fn next_nonce(&self, sender: Address, ledger: &Ledger) -> u64 {
        let mut next = ledger.nonce(sender);
        if let Some(waiting) = self.by_sender.get(&sender) {
            while waiting.contains_key(&next) {
                next += 1;
            }
        }
        next
    }

    /// The rules that depend on what else waits, in geth's order.
    pub(super) fn judge(
        &self,
        new: &Decoded,
        ledger: &Ledger,
        profile: ClientProfile,
    ) -> Result<(), Refusal> {
        let (sender, given) = (new.sender, new.nonce());
        let next = ledger.nonce(sender);
        if given < next {
            return Err(Refusal::NonceTooLow { next, given });
        }
        let pending = self.next_nonce(sender, ledger);
        if !profile.keeps_gapped() && given > pending {
            return Err(Refusal::NonceTooHigh { sender, next: pending, given });
        }
        let (balance, cost) = (ledger.balance(sender), new.cost_max());
        if balance < cost {
            return Err(Refusal::InsufficientFunds { balance, cost });
        }
        let waiting = self.by_sender.get(&sender);
        let old = waiting.and_then(|waiting| waiting.get(&given));
        let queued = waiting
            .into_iter()
            .flatten()
            .filter(|(nonce, _)| **nonce != given)
            .fold(U256::ZERO, |sum, (_, one)| sum.saturating_add(one.transaction.cost_max()));
        if balance < queued.saturating_add(cost) {
            return Err(Refusal::InsufficientFundsQueued { balance, queued, cost });
        }
        if let Some(old) = old {
            return if replaces(new, &old.transaction, profile.bump_percent()) {
                Ok(())
            } else {
                Err(Refusal::ReplacementUnderpriced)
            };
        }
        if self.len() >= TRANSACTIONS_MAX {
            return Err(Refusal::PoolFull);
        }
        if waiting.is_some_and(|waiting| waiting.len() >= ACCOUNT_TRANSACTIONS_MAX) {
            return Err(Refusal::AccountLimit { limit: ACCOUNT_TRANSACTIONS_MAX });
        }
        Ok(())
    }

    /// Takes the place of a transaction with the same sender and nonce.
    pub(super) fn insert(&mut self, transaction: Decoded) {
        self.arrivals += 1;
        let (hash, sender, nonce) = (transaction.hash, transaction.sender, transaction.nonce());
        let waiting = Waiting { transaction, arrival: self.arrivals };
        let old = self.by_sender.entry(sender).or_default().insert(nonce, waiting);
        if let Some(old) = old {
            self.by_hash.remove(&old.transaction.hash);
        }
        self.by_hash.insert(hash, (sender, nonce));
    }

    pub(super) fn remove(&mut self, hash: &B256) -> Option<Decoded> {
        let (sender, nonce) = self.by_hash.remove(hash)?;
        let waiting = self.by_sender.get_mut(&sender)?;
        let removed = waiting.remove(&nonce);
        if waiting.is_empty() {
            self.by_sender.remove(&sender);
        }
        removed.map(|waiting| waiting.transaction)
    }

    /// Drops what can never be mined because its nonce is used.
    pub(super) fn drop_used(&mut self, sender: Address, next_nonce: u64) {
        let Some(waiting) = self.by_sender.get(&sender) else { return };
        let used: Vec<B256> =
            waiting.range(..next_nonce).map(|(_, one)| one.transaction.hash).collect();
        for hash in used {
            self.remove(&hash);
        }
    }

    /// What the next block takes: of each sender the nonces without a gap that pay the base fee,
    /// in order of arrival, as long as there is gas.
    pub(super) fn select(&self, ledger: &Ledger, base_fee: u128, gas_max: u64) -> Vec<B256> {
        let mut candidates = Vec::new();
        for (sender, waiting) in &self.by_sender {
            let mut next = ledger.nonce(*sender);
            // A replacement arrives after its followers and is still mined before them.
            let mut arrival = 0;
            while let Some(one) = waiting.get(&next) {
                if one.transaction.fee_max() < base_fee {
                    break;
                }
                arrival = one.arrival.max(arrival);
                candidates.push((arrival, next, &one.transaction));
                next += 1;
            }
        }
        candidates.sort_by_key(|(arrival, nonce, _)| (*arrival, *nonce));
        let mut gas = 0_u64;
        candidates
            .into_iter()
            .map_while(|(_, _, transaction)| {
                gas = gas.saturating_add(transaction.envelope.gas_limit());
                (gas <= gas_max).then_some(transaction.hash)
            })
            .collect()
    }
}

/// geth's rule: both fees are higher than before, and at least so many percent, rounded down.
fn replaces(new: &Decoded, old: &Decoded, percent: u128) -> bool {
    let enough = |new: u128, old: u128| new > old && new >= old.saturating_mul(100 + percent) / 100;
    enough(new.fee_max(), old.fee_max()) && enough(new.tip_max(), old.tip_max())
}
