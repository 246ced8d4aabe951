//! Whether a withdrawal can be paid at all, asked before anything is written.

use async_trait::async_trait;

use crate::domain::WithdrawalRequest;

/// Knows the networks and their assets, and asks the network's plugin.
#[async_trait]
pub trait WithdrawalJudge: Send + Sync {
    /// Called once for each request that is well formed. It writes nothing.
    async fn judge(&self, request: &WithdrawalRequest) -> Result<(), JudgeError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// It can never be paid: 422. `field` is the request's field that is wrong; `reason` is sent.
    #[error("{field}: {reason}")]
    Rejected { field: &'static str, reason: String },
    /// Nobody can say now: 503. The text is logged and not sent.
    #[error("the withdrawal cannot be judged now: {0}")]
    Unavailable(String),
}
