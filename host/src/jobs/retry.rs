//! OutboxRetryJob: RETRYING and due → PENDING; lost leases → RETRYING.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
use super::metrics::Metrics;
use crate::store::{MaintainStore, StoreError};

/// Events in one statement.
const BATCH: u32 = 1_000;

pub struct RetryJob {
    pub store: Arc<dyn MaintainStore>,
    /// How late a retry may be. What is due is promoted at the next poll.
    pub poll: Duration,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPass {
    pub promoted: u64,
    pub taken_over: u64,
}

impl RetryJob {
    /// # Errors
    /// The store's.
    pub async fn run_once(&self) -> Result<RetryPass, StoreError> {
        let taken_over = self.store.take_over_lost_leases(BATCH).await?;
        if taken_over > 0 {
            tracing::warn!(
                job = Self::NAME,
                events = taken_over,
                "took over events of a host that lost its leases"
            );
        }
        let promoted = self.store.promote_due(BATCH).await?;
        Ok(RetryPass { promoted, taken_over })
    }

    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        cycle::run(&self, self.poll, &metrics, stop).await;
    }
}

#[async_trait]
impl Duty for RetryJob {
    const NAME: &'static str = "OutboxRetryJob";
    type Error = StoreError;

    async fn pass(&self) -> Result<Rest, StoreError> {
        let pass = self.run_once().await?;
        let full = pass.promoted.max(pass.taken_over) >= u64::from(BATCH);
        Ok(if full { Rest::More } else { Rest::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::jobs::testing::{ScriptedStore, away};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn job(store: &Arc<ScriptedStore>, poll: Duration) -> RetryJob {
        RetryJob { store: Arc::clone(store) as _, poll }
    }

    /// Waits for a fact, with a deadline.
    async fn until(what: &str, fact: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !fact() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_pass_does_both_duties_and_counts() {
        let store = Arc::new(ScriptedStore::promoting([Ok(7)]));
        let pass = job(&store, HOUR).run_once().await.unwrap();
        assert_eq!(pass, RetryPass { promoted: 7, taken_over: 0 });
        assert_eq!(store.calls("take_over_lost_leases"), 1);
    }

    #[tokio::test]
    async fn a_full_batch_is_followed_at_once_and_an_idle_job_stops_at_once() {
        let full = u64::from(BATCH);
        let store = Arc::new(ScriptedStore::promoting([Ok(full), Ok(full), Ok(1)]));
        let stop = CancellationToken::new();
        // With a poll of an hour, only full batches make it look again.
        let running = tokio::spawn(job(&store, HOUR).run(Arc::default(), stop.clone()));
        until("three passes", || store.calls("promote_due") == 3).await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
        assert_eq!(store.calls("promote_due"), 3);
    }

    #[tokio::test]
    async fn a_failed_pass_never_ends_the_job() {
        let store = Arc::new(ScriptedStore::promoting([Err(away()), Err(away()), Ok(1)]));
        let stop = CancellationToken::new();
        let running =
            tokio::spawn(job(&store, Duration::from_millis(1)).run(Arc::default(), stop.clone()));
        until("passes after the failed ones", || store.calls("promote_due") > 3).await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    }
}
