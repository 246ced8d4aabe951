//! What a no-op handler never asks for, and a store that counts what it settles.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate::domain::{Network, SignedTransaction};
use tidegate::jobs::{BrokerMessaging, StoreCheckpoints};
use tidegate::plugin::{
    PaymentTerms, SecretSource, ServiceError, Services, SignError, SignRequest, Signer, Work,
};
use tidegate::store::Store;

pub(crate) fn services(store: &Arc<dyn Store>) -> Services {
    Services {
        checkpoints: Arc::new(StoreCheckpoints(Arc::clone(store) as _)),
        signer: Arc::new(NoSigner),
        messaging: Arc::new(BrokerMessaging(None)),
        secrets: Arc::new(NoSecrets),
    }
}

struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn value(&self, name: &str) -> Result<String, ServiceError> {
        Err(ServiceError(format!("the bench has no secret {name}")))
    }
}

struct NoSigner;

impl NoSigner {
    fn refuse<T>() -> Result<T, SignError> {
        Err(SignError::Refused("the bench signs nothing".into()))
    }
}

#[async_trait]
impl Signer for NoSigner {
    async fn terms(
        &self,
        _work: &Work,
        _network: &Network,
        _asset: &str,
    ) -> Result<PaymentTerms, SignError> {
        Self::refuse()
    }

    async fn signed(&self, _work: &Work) -> Result<Option<SignedTransaction>, SignError> {
        Self::refuse()
    }

    async fn sign(
        &self,
        _work: &Work,
        _network: &Network,
        _request: SignRequest,
    ) -> Result<SignedTransaction, SignError> {
        Self::refuse()
    }
}
