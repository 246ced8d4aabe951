//! A store that answers as a test tells it to.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::{EventId, FailureReason};
use crate::store::{MaintainStore, StoreError, StoreFault};

/// Answers each call with the next of its list, and with "nothing to do" when the list is empty.
#[derive(Default)]
pub(super) struct ScriptedStore {
    pub(super) promotions: Mutex<VecDeque<Result<u64, StoreError>>>,
    pub(super) failures: Mutex<VecDeque<Vec<(EventId, FailureReason)>>>,
    calls: Mutex<Vec<&'static str>>,
}

impl ScriptedStore {
    pub(super) fn promoting(answers: impl IntoIterator<Item = Result<u64, StoreError>>) -> Self {
        Self { promotions: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    pub(super) fn calls(&self, name: &str) -> usize {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| **call == name).count()
    }

    fn called(&self, name: &'static str) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

pub(super) fn away() -> StoreError {
    StoreError::Unavailable {
        doing: "answer a test",
        fault: StoreFault::Unreachable,
        cause: "it is away".into(),
    }
}

#[async_trait]
impl MaintainStore for ScriptedStore {
    async fn promote_due(&self, _: u32) -> Result<u64, StoreError> {
        self.called("promote_due");
        self.promotions.lock().unwrap().pop_front().unwrap_or(Ok(0))
    }

    async fn take_over_lost_leases(&self, _: u32) -> Result<u64, StoreError> {
        self.called("take_over_lost_leases");
        Ok(0)
    }

    async fn fail_hopeless(
        &self,
        _: u32,
        _: u32,
    ) -> Result<Vec<(EventId, FailureReason)>, StoreError> {
        self.called("fail_hopeless");
        Ok(self.failures.lock().unwrap().pop_front().unwrap_or_default())
    }
}
