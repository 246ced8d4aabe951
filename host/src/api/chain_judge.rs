//! The judgement of this host: the network's configuration, and then the plugin that serves it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::chain::Chains;
use crate::domain::{EventType, WithdrawalRequest};
use crate::plugin::{Registry, SandboxEngine, ValidateError};

use super::judge::{JudgeError, WithdrawalJudge};

pub struct ChainJudge {
    pub chains: Arc<Chains>,
    pub registry: Arc<Registry>,
    pub engine: SandboxEngine,
    /// The event type whose plugin serves a network.
    pub broadcast: EventType,
}

#[async_trait]
impl WithdrawalJudge for ChainJudge {
    async fn judge(&self, request: &WithdrawalRequest) -> Result<(), JudgeError> {
        let Some(chain) = self.chains.get(&request.network) else {
            let known: Vec<_> = self.chains.iter().map(|(network, _)| network.as_str()).collect();
            return Err(JudgeError::Rejected {
                field: "network",
                reason: format!("this host pays on {}", known.join(", ")),
            });
        };
        chain
            .validate_request(&request.asset, &request.amount)
            .map_err(|error| JudgeError::Rejected { field: error.field, reason: error.reason })?;
        let routes = self.registry.current();
        // Without its plugin nobody can tell a good destination from a bad one.
        let Some(release) = routes.judge(&self.broadcast, &request.network) else {
            return Err(JudgeError::Unavailable(format!("no plugin serves {}", request.network)));
        };
        release.validate(&self.engine, request).await.map_err(|error| match error {
            ValidateError::Rejected(reason) => {
                JudgeError::Rejected { field: "destination_address", reason }
            }
            ValidateError::Unavailable(reason) => {
                JudgeError::Unavailable(format!("{}: {reason}", release.manifest().name))
            }
        })
    }
}
