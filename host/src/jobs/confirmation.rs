//! WithdrawalConfirmationJob: evidence from the chain → CONFIRMED or FAILED.
//!
//! One for each network, so that a slow node of one delays no other. The evidence, and what it
//! means, is `chain`'s; this only keeps it going.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cycle::{self, Rest};
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
        if pass.confirmed + pass.failed + pass.resent + pass.requested + pass.unclear > 0 {
            tracing::info!(
                job = "WithdrawalConfirmationJob",
                network = %self.chain.network(),
                looked_at = pass.looked_at,
                confirmed = pass.confirmed,
                failed = pass.failed,
                resent = pass.resent,
                requested = pass.requested,
                unclear = pass.unclear,
                "looked at the open payments"
            );
        }
        Ok(pass)
    }

    pub async fn run(self, stop: CancellationToken) {
        cycle::run("WithdrawalConfirmationJob", self.poll, stop, async || {
            self.run_once().await.map(|_| Rest::Nothing)
        })
        .await;
    }
}
