//! The transactions that wait to be mined in one node, by sender and nonce.

use std::collections::{BTreeMap, HashMap};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, U256};

use super::ledger::Ledger;
use super::profile::{Funds, Gaps, Profile};
use super::refusal::{Kind, Refusal};
use super::transaction::Decoded;

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

    /// Everything that waits, by sender and nonce.
    pub(super) fn all(&self) -> Vec<&Decoded> {
        let mut all: Vec<&Decoded> = self
            .by_sender
            .values()
            .flat_map(BTreeMap::values)
            .map(|one| &one.transaction)
            .collect();
        all.sort_by_key(|one| (one.sender, one.nonce()));
        all
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
        profile: &Profile,
    ) -> Result<(), Refusal> {
        let (sender, given) = (new.sender, new.nonce());
        self.judge_nonce(new, ledger, profile)?;
        let waiting = self.by_sender.get(&sender);
        self.judge_funds(new, ledger, profile)?;
        if let Some(old) = waiting.and_then(|waiting| waiting.get(&given)) {
            let shortfall = profile
                .replacement
                .and_then(|replacement| replacement.shortfall(new, &old.transaction));
            return match shortfall {
                Some((field, least)) => Err(Refusal::new(Kind::ReplacementUnderpriced)
                    .with("nonce", given)
                    .with("field", field)
                    .with("least", least)),
                None => Ok(()),
            };
        }
        if self.len() >= profile.pool_max {
            return Err(Refusal::new(Kind::PoolFull));
        }
        if waiting.is_some_and(|waiting| waiting.len() >= profile.account_max) {
            return Err(Refusal::new(Kind::AccountLimit).with("limit", profile.account_max));
        }
        Ok(())
    }

    fn judge_nonce(
        &self,
        new: &Decoded,
        ledger: &Ledger,
        profile: &Profile,
    ) -> Result<(), Refusal> {
        let (sender, given) = (new.sender, new.nonce());
        let refuse = |kind, next: u64| {
            let refusal = Refusal::new(kind).with("next", next).with("given", given);
            Err(refusal.with("sender", sender))
        };
        let next = ledger.nonce(sender);
        if given < next {
            return refuse(Kind::NonceTooLow, next);
        }
        let pending = self.next_nonce(sender, ledger);
        // Where nothing is replaced, what waits has used its nonce.
        if profile.replacement.is_none() && given < pending {
            return refuse(Kind::NonceTooLow, pending);
        }
        match profile.gaps {
            Gaps::Refuse if given > pending => refuse(Kind::NonceTooHigh, pending),
            Gaps::KeepUpTo(most) if given - next > most => refuse(Kind::NonceTooFar, next),
            Gaps::Keep | Gaps::KeepUpTo(_) | Gaps::Refuse => Ok(()),
        }
    }

    fn judge_funds(
        &self,
        new: &Decoded,
        ledger: &Ledger,
        profile: &Profile,
    ) -> Result<(), Refusal> {
        let (balance, cost) = (ledger.balance(new.sender), new.cost_max());
        let refuse = |kind, sum: U256| {
            let refusal = Refusal::new(kind).with("balance", balance).with("cost", cost);
            let refusal = refusal.with("sum", sum).with("sender", new.sender);
            refusal.with("overshot", sum.saturating_sub(balance))
        };
        if balance < cost {
            return Err(refuse(Kind::Funds, cost));
        }
        match profile.funds {
            Funds::Each => return Ok(()),
            Funds::Sum => {}
        }
        let queued = self
            .by_sender
            .get(&new.sender)
            .into_iter()
            .flatten()
            .filter(|(nonce, _)| **nonce != new.nonce())
            .fold(U256::ZERO, |sum, (_, one)| sum.saturating_add(one.transaction.cost_max()));
        let sum = queued.saturating_add(cost);
        if balance < sum {
            return Err(refuse(Kind::FundsQueued, sum).with("queued", queued));
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
    pub(super) fn select(&self, ledger: &Ledger, base_fee: u128, gas_max: u64) -> Vec<Decoded> {
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
        candidates
            .sort_by_key(|(arrival, nonce, transaction)| (*arrival, *nonce, transaction.sender));
        let mut gas = 0_u64;
        candidates
            .into_iter()
            .map_while(|(_, _, transaction)| {
                gas = gas.saturating_add(transaction.envelope.gas_limit());
                (gas <= gas_max).then(|| transaction.clone())
            })
            .collect()
    }
}
