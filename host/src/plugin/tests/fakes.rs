//! What stands behind the host functions in these tests: it remembers what was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::domain::{
    BigUint, Network, NewSignedTransaction, SignedTransaction, Timestamp, TransactionKind,
    WithdrawalId,
};
use crate::plugin::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SecretSource, ServiceError, Services, SignError, SignRequest, Signer, Work,
};

#[derive(Default)]
pub(super) struct Fakes {
    pub(super) checkpoint: Mutex<Option<Vec<u8>>>,
    /// Whether the host's store is away.
    pub(super) store_away: AtomicBool,
    pub(super) published: Mutex<Vec<OutgoingMessage>>,
    pub(super) publish_error: Mutex<Option<PublishError>>,
    /// Whether the broker's client panics.
    pub(super) panics: AtomicBool,
    pub(super) secrets: Mutex<BTreeMap<&'static str, &'static str>>,
    pub(super) signed: Mutex<Vec<(Network, SignRequest)>>,
}

impl Fakes {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn with_secret(name: &'static str, value: &'static str) -> Arc<Self> {
        let fakes = Self::new();
        fakes.secrets.lock().unwrap().insert(name, value);
        fakes
    }

    pub(super) fn services(self: &Arc<Self>) -> Services {
        Services {
            checkpoints: Arc::clone(self) as _,
            signer: Arc::clone(self) as _,
            messaging: Arc::clone(self) as _,
            secrets: Arc::clone(self) as _,
        }
    }
}

/// Services for a test that looks at none of them.
pub(super) fn services() -> Services {
    Fakes::new().services()
}

#[async_trait]
impl Checkpoints for Fakes {
    async fn load(&self, _: &Work) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.checkpoint.lock().unwrap().clone())
    }

    async fn save(&self, _: &Work, bytes: &[u8]) -> Result<(), CheckpointError> {
        if self.store_away.load(Ordering::Relaxed) {
            return Err(CheckpointError::StoreAway("the store is away".into()));
        }
        *self.checkpoint.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }
}

#[async_trait]
impl Messaging for Fakes {
    async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        assert!(!self.panics.load(Ordering::Relaxed), "a mistake of the host's own");
        match self.publish_error.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => {
                self.published.lock().unwrap().push(message);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl SecretSource for Fakes {
    async fn value(&self, name: &str) -> Result<String, ServiceError> {
        match self.secrets.lock().unwrap().get(name) {
            Some(value) => Ok((*value).to_owned()),
            None => Err(ServiceError(format!("this host has no secret {name:?}"))),
        }
    }
}

#[async_trait]
impl Signer for Fakes {
    async fn terms(&self, _: &Work, _: &Network, _: &str) -> Result<PaymentTerms, SignError> {
        Ok(PaymentTerms { chain_id: 31337, account: "0xA".into(), contract: None, decimals: 18 })
    }

    async fn signed(&self, _: &Work) -> Result<Option<SignedTransaction>, SignError> {
        Ok((!self.signed.lock().unwrap().is_empty()).then(transaction))
    }

    async fn sign(
        &self,
        _: &Work,
        network: &Network,
        request: SignRequest,
    ) -> Result<SignedTransaction, SignError> {
        self.signed.lock().unwrap().push((network.clone(), request));
        Ok(transaction())
    }
}

fn transaction() -> SignedTransaction {
    SignedTransaction {
        withdrawal: WithdrawalId::generate(),
        chain_id: 31337,
        account: "0xa".into(),
        nonce: 0,
        signed: NewSignedTransaction {
            kind: TransactionKind::Payment,
            hash: "0xhash".into(),
            raw: vec![2],
            gas_limit: 21_000,
            fee_max_per_gas: 2,
            priority_fee_max_per_gas: 1,
            native_cost_max: BigUint::from(42_001_u32),
            asset_units: BigUint::from(1_u8),
        },
        signed_at: Timestamp::from(std::time::SystemTime::now()),
    }
}
