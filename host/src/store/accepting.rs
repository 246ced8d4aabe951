//! What taking withdrawals and events needs of a store.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{NewEvent, Withdrawal};

/// What the API needs to take a withdrawal, or events of others.
#[async_trait]
pub trait AcceptStore: Send + Sync {
    /// Writes a withdrawal in REQUESTED, its first events and its idempotency key, all or nothing.
    /// A repeat of the key writes nothing and says what was answered before.
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError>;

    /// Writes events and the idempotency key of their request, all or nothing. A repeat of the key
    /// writes nothing and says what was answered before; so does an event whose own key is taken.
    async fn accept_events(&self, request: AcceptEvents) -> Result<AcceptedEvents, StoreError>;

    /// The answer that was given for this key, if any. Writes nothing.
    async fn find_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Accepted>, StoreError>;
}

#[derive(Debug, Clone)]
pub struct AcceptWithdrawal {
    pub withdrawal: Withdrawal,
    pub events: Vec<NewEvent>,
    pub idempotency: IdempotencyClaim,
    /// What the caller is answered, and is answered again on a repeat.
    pub answer: Answer,
}

/// Events that no transition of a withdrawal writes.
#[derive(Debug, Clone)]
pub struct AcceptEvents {
    pub events: Vec<NewEvent>,
    pub idempotency: IdempotencyClaim,
    /// What the caller is answered, and is answered again on a repeat.
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedEvents {
    As(Accepted),
    /// Events with these idempotency keys are in the outbox already. Nothing was written.
    EventKeysTaken(Vec<Uuid>),
}

/// One caller's key, and what it was used for
/// (draft-ietf-httpapi-idempotency-key-header).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// Whose key it is: keys of two callers never meet.
    pub scope: String,
    pub key: String,
    /// SHA-256 of the request in a canonical form, as lower-case hexadecimal.
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The `Location` of what was made.
    pub location: String,
    /// JSON text.
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    Created,
    /// The same request was accepted before, and was answered so.
    Replayed(Answer),
    /// The key was used for another request.
    KeyReused,
}
