//! What a call showed of its targets: whether those that it asked answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Targets of one call that are kept; a guest may ask for more hosts than anybody wants to know of.
const TARGETS_MAX: usize = 16;

/// The targets of one attempt, by host and port. Shared with the tasks of its requests.
#[derive(Debug, Default)]
pub struct TargetReports(Mutex<BTreeMap<String, bool>>);

impl TargetReports {
    /// A request is on its way. Until it is answered, the target failed: said before it goes, so
    /// that a call that is dropped meanwhile counts.
    pub(super) fn asked(&self, target: &str) {
        self.set(target, false);
    }

    /// It answered, and not with "not now".
    pub(super) fn answered(&self, target: &str) {
        self.set(target, true);
    }

    /// Nothing was sent there, for a reason of the host's own.
    pub(super) fn spared(&self, target: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    fn set(&self, target: &str, answered: bool) {
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets.get_mut(target) {
            *known = answered;
        } else if targets.len() < TARGETS_MAX {
            targets.insert(target.to_owned(), answered);
        }
    }

    /// Each target, and whether it answered when it was asked last.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, bool> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
