//! OutboxRetentionJob: deletes what has been finished for long enough, in small batches.
//!
//! Nothing waits for it, so it takes its time: between two batches others write.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
use super::metrics::Metrics;
use crate::store::{LimitStore, RetainStore, StoreError};

/// Rows in one transaction: a few milliseconds, for which SQLite's one writer is taken.
const BATCH: u32 = 500;

pub struct RetentionJob {
    pub store: Arc<dyn RetainStore>,
    pub limits: Arc<dyn LimitStore>,
    /// How late something may be deleted.
    pub poll: Duration,
    pub keep: Retention,
}

/// How long what is finished is kept; none is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub finished_events: Option<Duration>,
    pub idempotency_keys: Option<Duration>,
    /// How many releases of a plugin can be gone back to.
    pub releases: Option<u32>,
}

impl Default for Retention {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        Self { finished_events: Some(WEEK), idempotency_keys: Some(WEEK), releases: Some(20) }
    }
}

/// What one pass deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionPass {
    pub events: u64,
    pub keys: u64,
    /// Keys of rates that were quiet for a day, and places of events that wait no more.
    pub rates: u64,
    /// Components of old releases.
    pub components: u64,
}

impl RetentionJob {
    /// # Errors
    /// The store's.
    pub async fn run_once(&self) -> Result<RetentionPass, StoreError> {
        let mut pass = RetentionPass::default();
        if let Some(keep) = self.keep.finished_events {
            pass.events = self.store.delete_finished(keep, BATCH).await?;
        }
        if let Some(keep) = self.keep.idempotency_keys {
            pass.keys = self.store.delete_answers(keep, BATCH).await?;
        }
        pass.rates = self.limits.delete_idle_rates(BATCH).await?;
        if let Some(keep) = self.keep.releases {
            pass.components = self.store.delete_old_components(keep).await?;
        }
        if pass != RetentionPass::default() {
            let RetentionPass { events, keys, rates, components } = pass;
            tracing::debug!(
                job = Self::NAME,
                events,
                keys,
                rates,
                components,
                "deleted what is finished"
            );
        }
        Ok(pass)
    }

    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        cycle::run(&self, self.poll, &metrics, stop).await;
    }
}

#[async_trait]
impl Duty for RetentionJob {
    const NAME: &'static str = "OutboxRetentionJob";
    type Error = StoreError;

    async fn pass(&self) -> Result<Rest, StoreError> {
        let pass = self.run_once().await?;
        let full = pass.events.max(pass.keys).max(pass.rates) >= u64::from(BATCH);
        Ok(if full { Rest::More } else { Rest::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::domain::{EventId, EventType};
    use crate::jobs::testing::away;
    use crate::store::{Bucket, Claim, LimitedClaim, RouteLimits};

    const HOUR: Duration = Duration::from_secs(3_600);

    #[derive(Default)]
    struct Shelf {
        finished: Mutex<VecDeque<Result<u64, StoreError>>>,
        asked: Mutex<Vec<(&'static str, Duration)>>,
        kept: Mutex<Vec<u32>>,
    }

    #[async_trait]
    impl RetainStore for Shelf {
        async fn delete_finished(&self, keep: Duration, _: u32) -> Result<u64, StoreError> {
            self.asked.lock().unwrap().push(("events", keep));
            self.finished.lock().unwrap().pop_front().unwrap_or(Ok(0))
        }

        async fn delete_answers(&self, keep: Duration, _: u32) -> Result<u64, StoreError> {
            self.asked.lock().unwrap().push(("keys", keep));
            Ok(0)
        }

        async fn delete_old_components(&self, keep: u32) -> Result<u64, StoreError> {
            self.kept.lock().unwrap().push(keep);
            Ok(2)
        }
    }

    #[async_trait]
    impl LimitStore for Shelf {
        async fn claim_limited(
            &self,
            _: Claim<'_>,
            _: Arc<dyn RouteLimits>,
        ) -> Result<LimitedClaim, StoreError> {
            Ok(LimitedClaim::default())
        }

        async fn rate_waits(&self, _: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError> {
            Ok(Vec::new())
        }

        async fn end_rate_waits(&self, _: &EventType, _: u32) -> Result<u64, StoreError> {
            Ok(0)
        }

        async fn delete_idle_rates(&self, _: u32) -> Result<u64, StoreError> {
            Ok(3)
        }
    }

    fn job(store: &Arc<Shelf>, keep: Retention) -> RetentionJob {
        let (store, limits) = (Arc::clone(store) as _, Arc::clone(store) as _);
        RetentionJob { store, limits, poll: Duration::from_millis(5), keep }
    }

    #[tokio::test]
    async fn a_pass_deletes_both_and_counts() {
        let store = Arc::new(Shelf::default());
        store.finished.lock().unwrap().push_back(Ok(7));
        let keep = Retention {
            finished_events: Some(HOUR),
            idempotency_keys: Some(2 * HOUR),
            releases: Some(5),
        };
        let pass = job(&store, keep).run_once().await.unwrap();
        assert_eq!(pass, RetentionPass { events: 7, keys: 0, rates: 3, components: 2 });
        assert_eq!(*store.kept.lock().unwrap(), [5]);
        assert_eq!(*store.asked.lock().unwrap(), [("events", HOUR), ("keys", 2 * HOUR)]);
    }

    #[tokio::test]
    async fn what_is_kept_for_ever_is_not_asked_for() {
        let store = Arc::new(Shelf::default());
        let keep = Retention { finished_events: None, idempotency_keys: None, releases: None };
        job(&store, keep).run_once().await.unwrap();
        assert!(store.kept.lock().unwrap().is_empty());
        assert!(store.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_full_batch_is_followed_at_once_and_an_idle_job_stops_at_once() {
        let store = Arc::new(Shelf::default());
        let full = u64::from(BATCH);
        store.finished.lock().unwrap().extend([Err(away()), Ok(full), Ok(full), Ok(1)]);
        let stop = CancellationToken::new();
        let running =
            tokio::spawn(job(&store, Retention::default()).run(Arc::default(), stop.clone()));
        let done = async {
            while !store.finished.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), done).await.unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    }
}
