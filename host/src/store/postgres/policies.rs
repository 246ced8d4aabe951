//! What policies need of Postgres alone.

use std::sync::Arc;

use async_trait::async_trait;

use super::Postgres;
use super::chain::traceparent_of;
use super::ends::cancel_broadcasts;
use super::write::{facts, write};
use crate::domain::{Policies, WithdrawalId};
use crate::store::error::Doing;
use crate::store::plan::Plan;
use crate::store::policies::PolicyBase;
use crate::store::{StoreError, WithdrawalRejected};

#[async_trait]
impl PolicyBase for Postgres {
    fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    async fn fail_unsigned(
        &self,
        id: WithdrawalId,
        reason: String,
    ) -> Result<WithdrawalRejected, StoreError> {
        const DOING: &str = "reject a withdrawal";
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin().await.doing(DOING)?;
                // Whoever signs holds the same lock.
                let (now, facts) = facts(&mut tx, &[id]).await?;
                let mut plan = Plan::new(&self.flow, now, facts);
                let traceparent = traceparent_of(&mut tx, id).await?;
                let answer = plan.reject(id, reason.clone(), traceparent.as_deref());
                if answer == WithdrawalRejected::Now {
                    write(&mut tx, &plan.into_writes()).await?;
                    cancel_broadcasts(&mut tx, id, &reason).await?;
                    tx.commit().await.doing(DOING)?;
                    self.wakeup.send();
                } else {
                    tx.rollback().await.doing(DOING)?;
                }
                Ok(answer)
            })
            .await
    }
}
