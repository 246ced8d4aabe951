//! What signing and confirmation need of a store.

use std::time::Duration;

use async_trait::async_trait;

use super::{AccountStore, LeaseRef, StoreError};
use crate::domain::{
    NewSignedTransaction, Payment, PaymentWatch, SignedTransaction, SigningRefusal,
    SigningSituation, Transition, WithdrawalId, WithdrawalStatus,
};

/// What signing and confirmation need.
#[async_trait]
pub trait ChainStore: AccountStore {
    /// A withdrawal with all that was signed for it.
    async fn payment(&self, withdrawal: WithdrawalId) -> Result<Option<Payment>, StoreError>;

    /// Signs a payment's transaction, in one transaction and under the event's lease: checks that
    /// the event is a live BLOCKCHAIN_BROADCAST_REQUESTED of a withdrawal in REQUESTED or
    /// BROADCASTED, binds the nonce if none is bound (one conditional statement), asks `rules`,
    /// and stores what they signed before it answers. If the rules refuse, nothing is written and
    /// no nonce is used up.
    async fn sign_payment(
        &self,
        request: SignPayment,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError>;

    /// Signs the transaction that closes a payment that was given up, at its nonce, as
    /// [`Self::sign_payment`] does, but under no lease: it pays nobody, and two hosts that sign at
    /// once wait for each other. One that was signed less than `not_within` ago is given as it is.
    async fn sign_closing(
        &self,
        request: SignClosing,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError>;

    /// The ends of this chain that are still watched, in the order of their withdrawals, behind
    /// `after`.
    async fn watches(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u32,
    ) -> Result<Vec<PaymentWatch>, StoreError>;

    /// Watches this inclusion instead of the one before: a reorganisation moved the transaction.
    async fn move_watch(&self, watch: &PaymentWatch) -> Result<(), StoreError>;

    /// These are over.
    async fn end_watches(&self, withdrawals: &[WithdrawalId]) -> Result<(), StoreError>;

    /// Payments of this chain for which something was signed and whose withdrawal is REQUESTED or
    /// BROADCASTED, in the order of (account, nonce), behind `after`.
    async fn open_payments(
        &self,
        chain_id: u64,
        after: Option<(String, u64)>,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError>;

    /// Takes a withdrawal through transitions that the chain gave evidence for, one after another,
    /// with their events and the watch that follows, in one transaction. Steps that were taken before
    /// are passed over. One that is open again is watched no more.
    async fn conclude(&self, request: Conclude) -> Result<Concluded, StoreError>;

    /// Writes a BLOCKCHAIN_BROADCAST_REQUESTED for the withdrawal, unless one is unfinished or the
    /// last one was written less than `not_within` ago. Answers whether it wrote.
    async fn request_broadcast(
        &self,
        withdrawal: WithdrawalId,
        not_within: Duration,
    ) -> Result<bool, StoreError>;
}

#[derive(Debug, Clone)]
pub struct SignPayment {
    pub lease: LeaseRef,
    pub withdrawal: WithdrawalId,
    pub chain_id: u64,
    /// `0x` and lower-case hexadecimal. Must be registered. Used only if no nonce is bound yet:
    /// else the account is the one of the first signature.
    pub account: String,
    /// Whether a transaction that was signed before should be replaced.
    pub replace: bool,
}

/// The host's rules and its key. Called inside the store's transaction: no network, no waiting on
/// the store.
#[async_trait]
pub trait SigningRules: Send + Sync {
    async fn sign(
        &self,
        situation: &SigningSituation,
    ) -> Result<NewSignedTransaction, SigningRefusal>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// Signed now, and stored.
    Signed(SignedTransaction),
    /// Signed before; nothing was written.
    Stored(SignedTransaction),
    Refused(SigningRefusal),
    /// This host does not hold the event any more.
    LeaseLost,
    /// The event or its withdrawal is not in a state in which a payment may be signed.
    NotLive(String),
}

#[derive(Debug, Clone, Copy)]
pub struct SignClosing {
    pub withdrawal: WithdrawalId,
    pub chain_id: u64,
    /// A closing transaction that is younger is not replaced yet.
    pub not_within: Duration,
}

#[derive(Debug, Clone)]
pub struct Conclude {
    pub withdrawal: WithdrawalId,
    pub transitions: Vec<Transition>,
    /// What the chain said, kept in the withdrawal's history. JSON text.
    pub evidence: String,
    /// What may still be taken back, and is watched from here on.
    pub watch: Option<PaymentWatch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concluded {
    /// The withdrawal's status now, and whether this call changed it.
    Now {
        status: WithdrawalStatus,
        changed: bool,
    },
    NotFound,
    /// The withdrawal's rules forbid it; nothing was written.
    Refused(String),
}
