//! What the host functions rest on. The traits are in the words of the contract; those who know
//! the store, the chain and the broker stand behind them.

use async_trait::async_trait;

use crate::domain::{EventId, LeaseToken, Network, SignedTransaction, WithdrawalId};

/// The event that a call works on, and the right to do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub event: EventId,
    pub token: LeaseToken,
    /// Set if the event is about a withdrawal.
    pub withdrawal: Option<WithdrawalId>,
}

/// Behind the contract's `checkpoint`.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    async fn load(&self, work: &Work) -> Result<Option<Vec<u8>>, CheckpointError>;
    async fn save(&self, work: &Work, bytes: &[u8]) -> Result<(), CheckpointError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The host's own store: not the event's doing.
    #[error("{0}")]
    StoreAway(String),
    /// The host lost the event meanwhile, or what is stored makes no sense.
    #[error("{0}")]
    Failed(String),
}

/// The service could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(pub String);

/// Behind the contract's `signer`. It decides; the plugin host only checks the grant.
#[async_trait]
pub trait Signer: Send + Sync {
    /// How the asset is paid, and from which account the work's withdrawal is.
    async fn terms(
        &self,
        work: &Work,
        network: &Network,
        asset: &str,
    ) -> Result<PaymentTerms, SignError>;

    /// What was signed last for the work's withdrawal.
    async fn signed(&self, work: &Work) -> Result<Option<SignedTransaction>, SignError>;

    async fn sign(
        &self,
        work: &Work,
        network: &Network,
        request: SignRequest,
    ) -> Result<SignedTransaction, SignError>;

    /// Counts a request that `plugin` refused by itself, before it came here.
    fn refused(&self, _network: &str, _rule: &'static str) {}
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTerms {
    pub chain_id: u64,
    pub account: String,
    pub contract: Option<String>,
    pub decimals: u8,
}

/// An EIP-1559 transaction as a plugin proposes it, in the texts of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    pub chain_id: u64,
    pub to: String,
    pub value: String,
    pub data: Vec<u8>,
    pub gas_limit: u64,
    pub max_fee_per_gas: String,
    pub max_priority_fee_per_gas: String,
    /// Whether it is to take the place of what was signed before.
    pub replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Wait(String),
    #[error("{0}")]
    Unavailable(String),
    /// The host's own store: not the event's doing.
    #[error("{0}")]
    StoreAway(String),
}

/// Behind the contract's `messaging`.
#[async_trait]
pub trait Messaging: Send + Sync {
    async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    pub topic: String,
    pub id: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
}

/// Where the values of secrets come from.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The value of this moment: files and commands may give another one later.
    ///
    /// # Errors
    /// There is no such secret, or it cannot be read now. Never says anything of its value.
    async fn value(&self, name: &str) -> Result<String, ServiceError>;
}
