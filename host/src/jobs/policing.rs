//! What stands around a signature: the external service is asked when it is all that is missing, and
//! what a withdrawal waits for is noted.

use std::sync::Arc;

use super::external_policy::ExternalPolicy;
use crate::chain::SignError;
use crate::domain::{
    ExternalAnswer, Policies, SignedTransaction, Withdrawal, WithdrawalId, facts_digest,
    policy_rule,
};
use crate::store::{ChainStore, PolicyStore};

/// The policies, as far as they are no matter of the store's transaction.
pub struct Policing {
    pub store: Arc<dyn PolicyStore>,
    pub payments: Arc<dyn ChainStore>,
    pub policies: Arc<Policies>,
    /// There is one if the policies have such a rule.
    pub external: Option<ExternalPolicy>,
}

impl Policing {
    /// Signs by `sign`. Where only the external service's yes is missing, it is asked, outside of
    /// every transaction, its answer is kept, and `sign` is called once more: that decides again,
    /// with everything as it is then.
    pub(super) async fn around<S, F>(
        &self,
        id: WithdrawalId,
        sign: S,
    ) -> Result<SignedTransaction, SignError>
    where
        S: Fn() -> F + Send + Sync,
        F: Future<Output = Result<SignedTransaction, SignError>> + Send,
    {
        let mut signed = sign().await;
        if matches!(&signed, Err(SignError::Wait { rule, .. }) if *rule == policy_rule::EXTERNAL) {
            signed = match self.ask(id).await {
                Ok(()) => sign().await,
                Err(error) => Err(error),
            };
        }
        if let Err(SignError::Wait { rule, reason }) = &signed {
            // A note is for people: whether it can be written decides nothing.
            if let Err(error) = self.store.note_wait(id, rule, reason).await {
                tracing::warn!(withdrawal.id = %id, %error, "what it waits for was not noted");
            }
        }
        signed
    }

    async fn ask(&self, id: WithdrawalId) -> Result<(), SignError> {
        let wait = |reason| SignError::Wait { rule: policy_rule::EXTERNAL, reason };
        let Some(external) = &self.external else {
            return Err(wait("this host does not know the external service".to_owned()));
        };
        let Some(withdrawal) = self.payments.payment(id).await?.map(|found| found.withdrawal)
        else {
            return Err(wait("there is no such withdrawal".to_owned()));
        };
        let version = self.policies.version();
        let facts = facts_digest(id, &withdrawal.request, version);
        let answer = self.answer(external, &withdrawal, &facts).await.map_err(wait)?;
        self.store.keep_external_answer(id, &facts, &answer).await?;
        Ok(())
    }

    async fn answer(
        &self,
        external: &ExternalPolicy,
        withdrawal: &Withdrawal,
        facts: &str,
    ) -> Result<ExternalAnswer, String> {
        let version = self.policies.version();
        let answer = external.ask(withdrawal, facts, version, chrono::Utc::now()).await;
        answer.map_err(|why| {
            tracing::warn!(
                withdrawal.id = %withdrawal.id,
                reason = why,
                "the external policy service gave no clear answer: the withdrawal waits"
            );
            format!("the external service gave no clear answer: {why}")
        })
    }
}

#[cfg(test)]
#[path = "policing_test.rs"]
mod tests;
