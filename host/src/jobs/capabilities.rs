//! What the plugins' host functions rest on: the store, the chains and the broker, behind the traits
//! that `plugin` speaks.

use std::sync::Arc;

use async_trait::async_trait;

use super::metrics::Metrics;
use super::policing::Policing;
use crate::broker::{self, Broker};
use crate::chain::{self, Chains, EvmChain, TransactionRequest};
use crate::domain::{Network, SignedTransaction, WithdrawalId};
use crate::plugin::{
    Approvals, CheckpointError, Checkpoints, KnownManifest, Messaging, OutgoingMessage,
    PaymentTerms, PublishError, ServiceError, SignError, SignRequest, Signer, Work,
};
use crate::store::{ApprovalStore, ChainStore, CheckpointStore, LeaseRef, StoreError};

fn lease(work: &Work) -> LeaseRef {
    LeaseRef { event: work.event, token: work.token }
}

/// Checkpoints in the store, under the event's lease.
pub struct StoreCheckpoints(pub Arc<dyn CheckpointStore>);

#[async_trait]
impl Checkpoints for StoreCheckpoints {
    async fn load(&self, work: &Work) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.0.load_checkpoint(work.event).await.map_err(|error| checkpoint_error(&error))
    }

    async fn save(&self, work: &Work, bytes: &[u8]) -> Result<(), CheckpointError> {
        match self.0.save_checkpoint(lease(work), bytes).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(CheckpointError::Failed("this host lost the lease of the event".into()))
            }
            Err(error) => Err(checkpoint_error(&error)),
        }
    }
}

fn checkpoint_error(error: &StoreError) -> CheckpointError {
    match error {
        StoreError::Unavailable { .. } => CheckpointError::StoreAway(error.to_string()),
        StoreError::CorruptRow { .. } | StoreError::Conflict { .. } => {
            CheckpointError::Failed(error.to_string())
        }
    }
}

/// Approved manifests in the store.
pub struct StoreApprovals(pub Arc<dyn ApprovalStore>);

#[async_trait]
impl Approvals for StoreApprovals {
    async fn manifests(&self, plugin: &str) -> Result<Vec<KnownManifest>, ServiceError> {
        let known =
            self.0.approved_manifests(plugin).await.map_err(|error| service_error(&error))?;
        let known =
            known.into_iter().map(|it| KnownManifest { digest: it.digest, text: it.manifest });
        Ok(known.collect())
    }

    async fn keep_live(&self, plugin: &str, digest: &str, text: &str) -> Result<(), ServiceError> {
        self.0.keep_live_manifest(plugin, digest, text).await.map_err(|error| service_error(&error))
    }
}

fn service_error(error: &StoreError) -> ServiceError {
    ServiceError(error.to_string())
}

/// The rule that is kept here; all others are the chain's.
mod rule {
    pub(super) const CONFIGURED: &str = "network.configured";
}

/// Signatures by the chains' accounts.
pub struct ChainSigner {
    pub chains: Arc<Chains>,
    pub store: Arc<dyn ChainStore>,
    pub policing: Policing,
    pub metrics: Arc<Metrics>,
}

impl ChainSigner {
    fn chain(&self, network: &Network) -> Result<&Arc<EvmChain>, SignError> {
        self.chains.get(network).ok_or_else(|| {
            // The plugin's own word for a network must not name a metric.
            self.metrics.signing_refused("not configured", rule::CONFIGURED);
            SignError::Refused(format!(
                "refused by rule {}: this host has no network {network} in its configuration",
                rule::CONFIGURED
            ))
        })
    }
}

fn withdrawal(work: &Work) -> Result<WithdrawalId, SignError> {
    work.withdrawal.ok_or_else(|| SignError::Refused("the event is about no withdrawal".into()))
}

#[async_trait]
impl Signer for ChainSigner {
    async fn terms(
        &self,
        work: &Work,
        network: &Network,
        asset: &str,
    ) -> Result<PaymentTerms, SignError> {
        let terms = self.chain(network)?.terms(work.withdrawal, asset).await;
        let terms = terms.map_err(|error| sign_error(&error))?;
        Ok(PaymentTerms {
            chain_id: terms.chain_id,
            account: terms.account,
            contract: terms.contract,
            decimals: terms.decimals,
        })
    }

    async fn signed(&self, work: &Work) -> Result<Option<SignedTransaction>, SignError> {
        let payment = self.store.payment(withdrawal(work)?).await;
        let payment = payment.map_err(|error| match error {
            StoreError::Unavailable { .. } => SignError::StoreAway(error.to_string()),
            StoreError::CorruptRow { .. } | StoreError::Conflict { .. } => {
                SignError::Unavailable(error.to_string())
            }
        })?;
        Ok(payment.and_then(|payment| payment.transactions.into_iter().next_back()))
    }

    async fn sign(
        &self,
        work: &Work,
        network: &Network,
        request: SignRequest,
    ) -> Result<SignedTransaction, SignError> {
        let transaction = TransactionRequest {
            chain_id: request.chain_id,
            to: request.to,
            value: request.value,
            data: request.data,
            gas_limit: request.gas_limit,
            max_fee_per_gas: request.max_fee_per_gas,
            max_priority_fee_per_gas: request.max_priority_fee_per_gas,
        };
        let (chain, withdrawal) = (self.chain(network)?, withdrawal(work)?);
        let sign = || chain.sign(lease(work), withdrawal, transaction.clone(), request.replace);
        self.policing.around(withdrawal, sign).await.map_err(|error| {
            if let Some(rule) = error.rule() {
                self.metrics.signing_refused(network.as_str(), rule);
            }
            sign_error(&error)
        })
    }

    fn refused(&self, network: &str, rule: &'static str) {
        self.metrics.signing_refused(network, rule);
    }
}

fn sign_error(error: &chain::SignError) -> SignError {
    let text = error.to_string();
    match error {
        chain::SignError::Refused { .. } => SignError::Refused(text),
        chain::SignError::Wait { .. } => SignError::Wait(text),
        chain::SignError::Unavailable(_) => SignError::Unavailable(text),
        chain::SignError::StoreAway(_) => SignError::StoreAway(text),
    }
}

/// Messages to the configured broker; none, if there is none.
pub struct BrokerMessaging(pub Option<Arc<dyn Broker>>);

#[async_trait]
impl Messaging for BrokerMessaging {
    async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        let Some(broker) = &self.0 else {
            return Err(PublishError::Unavailable(
                "this host has no broker: configure one under [broker]".into(),
            ));
        };
        let message = broker::Message {
            topic: message.topic,
            id: message.id,
            content_type: message.content_type,
            body: message.body.into(),
        };
        broker.publish(message).await.map_err(|error| match error {
            broker::PublishError::Refused(_) => PublishError::Refused(error.to_string()),
            broker::PublishError::Unavailable(_) => PublishError::Unavailable(error.to_string()),
        })
    }
}
