//! The withdrawal's part of the specification.

use crate::domain::WithdrawalStatus;

/// A step that something asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Broadcast(String),
    Confirm(String),
    Fail(String),
    Revert(String, String),
    Reopen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Withdrawal {
    pub(super) status: WithdrawalStatus,
    pub(super) tx_hash: Option<String>,
    pub(super) reason: Option<String>,
    /// Hashes, in the order in which they were signed.
    pub(super) signed: Vec<String>,
    pub(super) nonce: Option<u64>,
    /// Given up after something was signed.
    pub(super) closing: bool,
    /// The steps that changed something: from, to.
    pub(super) steps: Vec<(WithdrawalStatus, WithdrawalStatus)>,
}

impl Default for Withdrawal {
    fn default() -> Self {
        Self {
            status: WithdrawalStatus::Requested,
            tx_hash: None,
            reason: None,
            signed: Vec::new(),
            nonce: None,
            closing: false,
            steps: Vec::new(),
        }
    }
}

impl Withdrawal {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.status, WithdrawalStatus::Requested | WithdrawalStatus::Broadcasted)
    }

    /// None if the step is refused; else whether it changed anything.
    pub(super) fn take(&mut self, step: Step) -> Option<bool> {
        use WithdrawalStatus::{Broadcasted, Confirmed, Failed, Requested};
        let from = self.status;
        let (to, hash, reason) = match (step, from) {
            (Step::Broadcast(hash), Requested) => (Broadcasted, Some(hash), None),
            (Step::Broadcast(hash), Broadcasted) if self.tx_hash.as_ref() != Some(&hash) => {
                (Broadcasted, Some(hash), None)
            }
            (Step::Broadcast(_), Broadcasted | Confirmed) => return Some(false),
            (Step::Confirm(hash), Broadcasted) => (Confirmed, Some(hash), None),
            (Step::Confirm(_), Confirmed) => return Some(false),
            // Once something is signed, only the chain can say that it failed.
            (Step::Fail(reason), Requested) if self.signed.is_empty() => {
                (Failed, None, Some(reason))
            }
            (Step::Revert(hash, reason), Broadcasted) => (Failed, Some(hash), Some(reason)),
            (Step::Fail(_) | Step::Revert(..), Failed) => return Some(false),
            (Step::Reopen, Confirmed) => (Broadcasted, self.tx_hash.clone(), None),
            (Step::Reopen, Requested | Broadcasted) => return Some(false),
            (Step::Broadcast(_) | Step::Reopen, Failed)
            | (Step::Confirm(_), Requested | Failed)
            | (Step::Fail(_), Requested | Broadcasted | Confirmed)
            | (Step::Revert(..), Requested | Confirmed) => return None,
        };
        (self.status, self.tx_hash, self.reason) = (to, hash, reason);
        self.steps.push((from, to));
        Some(true)
    }
}
