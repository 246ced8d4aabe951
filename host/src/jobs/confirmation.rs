//! WithdrawalConfirmationJob: evidence from the chain → CONFIRMED or FAILED.
//!
//! One for each network, so that a slow node of one delays no other. The evidence, and what it
//! means, is `chain`'s; this only keeps it going.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
use super::metrics::Metrics;
use crate::chain::{ChainError, ConfirmationPass, EvmChain};

pub struct ConfirmationJob {
    pub chain: Arc<EvmChain>,
    pub poll: Duration,
}

impl ConfirmationJob {
    /// # Errors
    /// A node or the store could not be reached; what was concluded before stands.
    pub async fn run_once(&self) -> Result<ConfirmationPass, ChainError> {
        let now = std::time::SystemTime::now().into();
        let pass = self.chain.confirmation_pass(now).await?;
        let ConfirmationPass {
            looked_at: _,
            confirmed,
            failed,
            resent,
            requested,
            closings,
            reopened,
            unclear,
        } = pass;
        if confirmed + failed + resent + requested + closings + reopened + unclear > 0 {
            tracing::info!(
                job = Self::NAME,
                network = %self.chain.network(),
                looked_at = pass.looked_at,
                confirmed,
                failed,
                resent,
                requested,
                closings,
                reopened,
                unclear,
                "looked at the open payments"
            );
        }
        Ok(pass)
    }

    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let heads = self.chain.follow_heads(&stop);
        tokio::join!(cycle::run(&self, self.poll, &metrics, stop.clone()), heads);
    }
}

#[async_trait]
impl Duty for ConfirmationJob {
    const NAME: &'static str = "WithdrawalConfirmationJob";
    type Error = ChainError;

    async fn pass(&self) -> Result<Rest, ChainError> {
        self.run_once().await?;
        // What is open waits for blocks: looking again at once would see the same.
        Ok(Rest::Nothing)
    }

    async fn woken(&self) {
        self.chain.new_head().await;
    }
}
