//! Circuit breakers, as all hosts share them.

use std::time::Duration;

use async_trait::async_trait;

use super::{ControlChange, ControlNote, StoreError};
use crate::domain::{BreakerState, Timestamp};

/// What the dispatcher and operators need of breakers. Written only when one changes.
#[async_trait]
pub trait BreakerStore: Send + Sync {
    /// Every breaker that was ever open, by plugin and target.
    async fn breakers(&self) -> Result<Vec<Breaker>, StoreError>;

    /// Opens one that is closed, or that is open and due for a probe, for `open_for` from now. One
    /// that another host opened meanwhile, or that is held, stays as it is: `Already`.
    async fn open_breaker(
        &self,
        key: &BreakerKey,
        open_for: Duration,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;

    /// Takes the probe of one that is due, for `probe_for`. True for one host at a time.
    async fn take_probe(&self, key: &BreakerKey, probe_for: Duration) -> Result<bool, StoreError>;

    /// Closes one that is open and due. Wakes the hosts.
    async fn close_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;

    /// Holds one open until it is let go, whatever it was.
    async fn hold_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;

    /// Closes one, whether it is held or open. Wakes the hosts.
    async fn let_breaker_go(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError>;
}

/// Whose breaker: a plugin's, for one target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BreakerKey {
    pub plugin: String,
    /// Host and port, or `messaging`.
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    pub key: BreakerKey,
    /// As of this moment, by the store's clock.
    pub state: BreakerState,
    pub reason: String,
    pub changed_by: String,
    pub changed_at: Timestamp,
}

/// For tests of those who use it.
#[cfg(test)]
pub(crate) mod memory {
    use super::*;

    /// Breakers in memory, without a clock: what is open is due at once.
    #[derive(Default)]
    pub(crate) struct MemoryBreakers(std::sync::Mutex<Vec<Breaker>>);

    impl MemoryBreakers {
        fn change(
            &self,
            key: &BreakerKey,
            state: BreakerState,
            note: ControlNote<'_>,
            from: impl FnOnce(Option<BreakerState>) -> bool,
        ) -> ControlChange {
            let mut breakers = self.0.lock().unwrap();
            let found = breakers.iter().position(|breaker| breaker.key == *key);
            if !from(found.map(|at| breakers[at].state)) {
                return ControlChange::Already;
            }
            if let Some(at) = found {
                breakers.remove(at);
            }
            breakers.push(Breaker {
                key: key.clone(),
                state,
                reason: note.reason.to_owned(),
                changed_by: note.by.to_owned(),
                changed_at: Timestamp::UNIX_EPOCH,
            });
            ControlChange::Changed
        }
    }

    #[async_trait]
    impl BreakerStore for MemoryBreakers {
        async fn breakers(&self) -> Result<Vec<Breaker>, StoreError> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn open_breaker(
            &self,
            key: &BreakerKey,
            _: Duration,
            note: ControlNote<'_>,
        ) -> Result<ControlChange, StoreError> {
            let open = BreakerState::Open { left: Duration::ZERO, trips: 1 };
            Ok(self.change(key, open, note, |state| state != Some(BreakerState::Held)))
        }

        async fn take_probe(&self, _: &BreakerKey, _: Duration) -> Result<bool, StoreError> {
            Ok(true)
        }

        async fn close_breaker(
            &self,
            key: &BreakerKey,
            note: ControlNote<'_>,
        ) -> Result<ControlChange, StoreError> {
            let closed = BreakerState::Closed { ago: None };
            Ok(self.change(key, closed, note, |it| matches!(it, Some(BreakerState::Open { .. }))))
        }

        async fn hold_breaker(
            &self,
            key: &BreakerKey,
            note: ControlNote<'_>,
        ) -> Result<ControlChange, StoreError> {
            Ok(self.change(key, BreakerState::Held, note, |it| it != Some(BreakerState::Held)))
        }

        async fn let_breaker_go(
            &self,
            key: &BreakerKey,
            note: ControlNote<'_>,
        ) -> Result<ControlChange, StoreError> {
            let closed = BreakerState::Closed { ago: None };
            let was_open = |it| matches!(it, Some(BreakerState::Open { .. } | BreakerState::Held));
            Ok(self.change(key, closed, note, was_open))
        }
    }
}
