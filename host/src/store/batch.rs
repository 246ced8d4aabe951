//! A batch of settlements, from what was asked to what is answered. The same for both databases.

use std::collections::{HashMap, HashSet};

use super::plan::{Plan, Planned, withdrawal_of};
use super::writes::Writes;
use super::{CLAIM_MAX, LeaseRef, Settled, Settlement, StoreError};
use crate::domain::WithdrawalId;

pub(super) const DOING: &str = "settle events";

/// Leases that are held, with their events' traceparents.
pub(super) type Held = HashMap<LeaseRef, Option<String>>;

/// What must be locked before a batch can be planned. Most batches concern no withdrawal, and then
/// there is nothing to lock.
#[derive(Debug)]
pub(super) struct Concerned(HashMap<LeaseRef, WithdrawalId>);

impl Concerned {
    /// # Errors
    /// The batch is larger than [`CLAIM_MAX`].
    pub(super) fn of(settlements: &[Settlement]) -> Result<Self, StoreError> {
        if settlements.len() > CLAIM_MAX as usize {
            return Err(StoreError::conflict(DOING, "the batch is larger than CLAIM_MAX"));
        }
        Ok(Self(settlements.iter().filter_map(|s| Some((s.lease, withdrawal_of(s)?))).collect()))
    }

    pub(super) fn leases(&self) -> Vec<LeaseRef> {
        self.0.keys().copied().collect()
    }

    /// The withdrawals of the leases that are held, each once.
    pub(super) fn withdrawals(&self, held: &Held) -> Vec<WithdrawalId> {
        let mut ids: Vec<_> = held.keys().filter_map(|lease| self.0.get(lease).copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// A batch, planned. Its events are written first; which of them were decides about the rest.
#[derive(Debug)]
pub(super) struct Batch {
    asked: Vec<LeaseRef>,
    pub(super) planned: Vec<Planned>,
    held: Held,
}

impl Batch {
    pub(super) fn plan(
        settlements: Vec<Settlement>,
        concerned: &Concerned,
        held: Held,
        plan: &mut Plan<'_>,
    ) -> Self {
        let asked = settlements.iter().map(|s| s.lease).collect();
        let mut seen = HashSet::new();
        let mut planned = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let lease = settlement.lease;
            // A withdrawal takes steps for held leases only. And a lease is settled once: a second
            // verdict in the same batch comes too late.
            let lost = concerned.0.contains_key(&lease) && !held.contains_key(&lease);
            if !lost && seen.insert(lease) {
                let traceparent = held.get(&lease).and_then(Option::as_deref);
                planned.push(plan.settle(settlement, traceparent));
            }
        }
        Self { asked, planned, held }
    }

    /// What to write beside the events, and the answers, once it is known which were settled.
    ///
    /// # Errors
    /// A lease that was locked was not settled: then nothing of the batch may be written.
    pub(super) fn finish(
        self,
        plan: Plan<'_>,
        settled: &HashSet<LeaseRef>,
    ) -> Result<(Writes, Vec<Settled>), StoreError> {
        if self.held.keys().any(|lease| !settled.contains(lease)) {
            return Err(StoreError::unavailable(DOING, "a lease was lost while it was locked"));
        }
        // Only the first verdict of a lease is answered as it was decided.
        let mut answers: HashMap<_, _> = self
            .planned
            .iter()
            .filter(|plan| settled.contains(&plan.update.lease))
            .map(|plan| (plan.update.lease, plan.answer.clone()))
            .collect();
        let answered = self
            .asked
            .iter()
            .map(|lease| answers.remove(lease).unwrap_or(Settled::LeaseLost))
            .collect();
        Ok((plan.writes(self.planned, settled), answered))
    }
}
