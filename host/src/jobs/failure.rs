//! OutboxFailureJob: what no attempt can end → FAILED, and what follows for the withdrawal.
//!
//! An attempt that exhausts the retries, or is rejected, is settled as FAILED by the dispatcher in
//! its own transaction. What is left are events that nobody attempts any more: expired ones, and
//! those that killed their host too often.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
use super::metrics::Metrics;
use crate::store::{MaintainStore, StoreError};

const BATCH: u32 = 500;

pub struct FailureJob {
    pub store: Arc<dyn MaintainStore>,
    pub poll: Duration,
    /// So many lost hosts make an event poison.
    pub interruptions_max: u32,
}

impl FailureJob {
    /// Answers how many events it failed.
    ///
    /// # Errors
    /// The store's.
    pub async fn run_once(&self) -> Result<usize, StoreError> {
        let failed = self.store.fail_hopeless(self.interruptions_max, BATCH).await?;
        for (event, reason) in &failed {
            tracing::warn!(job = Self::NAME, event.id = %event, %reason, "an event is FAILED");
        }
        Ok(failed.len())
    }

    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        cycle::run(&self, self.poll, &metrics, stop).await;
    }
}

#[async_trait]
impl Duty for FailureJob {
    const NAME: &'static str = "OutboxFailureJob";
    type Error = StoreError;

    async fn pass(&self) -> Result<Rest, StoreError> {
        let full = self.run_once().await? >= BATCH as usize;
        Ok(if full { Rest::More } else { Rest::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, FailureCode, FailureReason};
    use crate::jobs::testing::ScriptedStore;

    #[tokio::test]
    async fn a_pass_says_how_many_events_it_failed() {
        let failed = (
            EventId::generate(),
            FailureReason { code: FailureCode::Poison, text: "21 hosts were lost".into() },
        );
        let store = Arc::new(ScriptedStore::default());
        store.failures.lock().unwrap().push_back(vec![failed]);
        let job = FailureJob {
            store: Arc::clone(&store) as _,
            poll: Duration::from_secs(1),
            interruptions_max: 20,
        };
        assert_eq!(job.run_once().await.unwrap(), 1);
        assert_eq!(job.run_once().await.unwrap(), 0);
    }
}
