//! A store as the dispatcher sees it, which counts what it settles and notes when handlers started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate::domain::{EventId, OutboxEvent};
use tidegate::store::{Claim, DispatchStore, LeaseRef, Settled, Settlement, Store, StoreError};
use tokio::sync::watch;

pub(crate) struct Counting {
    inner: Arc<dyn Store>,
    done: AtomicU64,
    /// Event and microseconds since 1970 of its handler's start.
    starts: Option<Mutex<Vec<(EventId, i64)>>>,
}

impl Counting {
    pub(crate) fn new(inner: Arc<dyn Store>, with_starts: bool) -> Self {
        Self { inner, done: AtomicU64::new(0), starts: with_starts.then(Mutex::default) }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn take_starts(&self) -> Vec<(EventId, i64)> {
        let Some(starts) = &self.starts else { return Vec::new() };
        std::mem::take(&mut *starts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl DispatchStore for Counting {
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError> {
        self.inner.claim(request).await
    }

    async fn extend(
        &self,
        leases: &[LeaseRef],
        lease_for: Duration,
    ) -> Result<Vec<EventId>, StoreError> {
        self.inner.extend(leases, lease_for).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        if let Some(starts) = &self.starts {
            let new = settlements.iter().map(|settlement| {
                (settlement.lease.event, settlement.attempt.started_at.timestamp_micros())
            });
            starts.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
        }
        let answers = self.inner.settle(settlements).await?;
        let settled = answers.iter().filter(|answer| **answer == Settled::Settled).count();
        self.done.fetch_add(settled as u64, Ordering::Relaxed);
        Ok(answers)
    }

    async fn release(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        self.inner.release(leases).await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.inner.wakeups()
    }
}
