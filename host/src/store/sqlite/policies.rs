//! What policies need of SQLite alone.

use std::sync::Arc;

use async_trait::async_trait;

use super::chain::traceparent_of;
use super::ends::cancel_broadcasts;
use super::write::{facts, write};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{Policies, WithdrawalId};
use crate::store::plan::Plan;
use crate::store::policies::PolicyBase;
use crate::store::{StoreError, WithdrawalRejected};

#[async_trait]
impl PolicyBase for Sqlite {
    fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    async fn fail_unsigned(
        &self,
        id: WithdrawalId,
        reason: String,
    ) -> Result<WithdrawalRejected, StoreError> {
        let flow = Arc::clone(&self.flow);
        let answer = self
            .writer
            .write("reject a withdrawal", move |c| {
                Box::pin(async move {
                    let at = now();
                    let facts = facts(c, &[id]).await?;
                    let mut plan = Plan::new(&flow, at, facts);
                    let traceparent = traceparent_of(c, id).await?;
                    let answer = plan.reject(id, reason.clone(), traceparent.as_deref());
                    if answer != WithdrawalRejected::Now {
                        return Ok(Outcome::Undo(answer));
                    }
                    write(c, &plan.into_writes(), at).await?;
                    cancel_broadcasts(c, id, &reason, at).await?;
                    Ok(Outcome::Keep(answer))
                })
            })
            .await?;
        if answer == WithdrawalRejected::Now {
            self.wakeup.send();
        }
        Ok(answer)
    }
}
