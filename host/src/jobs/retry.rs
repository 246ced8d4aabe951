//! OutboxRetryJob: RETRYING and due → PENDING; lost leases → RETRYING.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
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

    pub async fn run(self, stop: CancellationToken) {
        cycle::run(&self, self.poll, stop).await;
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
