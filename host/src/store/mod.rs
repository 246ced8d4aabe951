//! Where withdrawals and events are kept: small traits, one for each of those who ask.
//!
//! A method is a use case and one transaction. Guards stand in the WHERE clause, and the number of
//! rows decides: nothing is read first and written later. Two stores stand behind the traits,
//! SQLite (embedded) and Postgres (several hosts); both pass `conformance`. Only this folder
//! contains SQL. Times are the database's: requests carry durations, never points in time.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::{Aggregate, Counters, NewSignedTransaction};
use crate::domain::{
    Decision, EventId, EventType, FailureReason, HostId, LeaseToken, NewEvent, OutboxEvent,
    Payment, SignedTransaction, SigningRefusal, SigningSituation, Timestamp, Transition,
    Withdrawal, WithdrawalId, WithdrawalStatus,
};

mod batch;
#[cfg(test)]
mod conformance;
mod error;
mod migrate;
mod open;
mod plan;
mod postgres;
mod row;
mod sign;
mod sqlite;
mod views;
mod wakeup;
mod writes;

pub use error::StoreError;
pub use open::{OpenError, PostgresUrl, StoreOptions, StoreUrl, StoreUrlError, open};
pub use views::{
    EventFilter, EventHistory, HistoryEntry, HistoryKind, Page, Replayed, Timeline,
    TransitionRecord, WithdrawalFilter,
};

/// Everything that a store does. Each user asks for the part that it needs.
pub trait Store:
    AcceptStore + DispatchStore + MaintainStore + CheckpointStore + ChainStore + OperateStore
{
}

impl<T> Store for T where
    T: AcceptStore + DispatchStore + MaintainStore + CheckpointStore + ChainStore + OperateStore
{
}

// ---------------------------------------------------------------- accepting

/// What the API needs to take a withdrawal.
#[async_trait]
pub trait AcceptStore: Send + Sync {
    /// Writes a withdrawal in REQUESTED, its first events and its idempotency key, all or nothing.
    /// A repeat of the key writes nothing and says what was answered before.
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError>;

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

// ---------------------------------------------------------------- dispatching

/// What the dispatcher needs.
#[async_trait]
pub trait DispatchStore: Send + Sync {
    /// Leases up to `limit` due events of one type to `host`. Takes PENDING only, oldest
    /// first; each claim raises the event's lease token. Fewer than `limit` means that nothing
    /// more is due now.
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError>;

    /// Prolongs leases that are still held to `lease_for` from now. Answers those that are.
    async fn extend(
        &self,
        leases: &[LeaseRef],
        lease_for: Duration,
    ) -> Result<Vec<EventId>, StoreError>;

    /// Carries out decisions for events whose lease is still held: the event's status, its
    /// history, the withdrawal's transition and follow-up events, in one transaction. Answers one
    /// `Settled` a settlement, in the same order. At most [`CLAIM_MAX`] at once; of two
    /// settlements of one lease the first counts. `last_error` stays when an event is DONE.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError>;

    /// Gives leases back without a trace: PROCESSING → PENDING, nothing counted. Only for events
    /// whose handler was not called under this lease. Leases that were lost are passed over.
    async fn release(&self, leases: &[LeaseRef]) -> Result<(), StoreError>;

    /// A hint that there may be new work. It carries nothing: look again. Sent after what this
    /// process wrote, and after what others wrote where the database can tell.
    fn wakeups(&self) -> watch::Receiver<u64>;
}

#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub host: &'a HostId,
    pub event_type: &'a EventType,
    /// At most [`CLAIM_MAX`].
    pub limit: u32,
    pub lease_for: Duration,
    /// Not empty for an ordered route: an event is taken only if no earlier event of the same
    /// aggregate, among these types, is unfinished or FAILED. At most one event of an aggregate is
    /// taken in one claim.
    pub ordered_among: &'a [EventType],
}

/// The largest batch of a claim or a settle.
pub const CLAIM_MAX: u32 = 1_000;

/// A lease, as its holder names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    pub event: EventId,
    pub token: LeaseToken,
}

/// One attempt's end, to be written.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub lease: LeaseRef,
    pub aggregate: Aggregate,
    pub event_type: EventType,
    pub decision: Decision,
    pub attempt: AttemptRecord,
}

/// What the history keeps of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1 is the first.
    pub number: u32,
    pub plugin: String,
    pub release_digest: String,
    pub started_at: Timestamp,
    pub duration: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Written as decided.
    Settled,
    /// Another host holds the event by now, or it was settled: nothing was written.
    LeaseLost,
    /// The handler asked for a transition that the withdrawal's rules forbid: the event was
    /// written as FAILED, for this reason, and the withdrawal left as it is.
    TransitionRefused(FailureReason),
}

// ---------------------------------------------------------------- maintaining

/// What the retry and failure jobs need. Every pass is bounded by `limit`; a full pass means that
/// there may be more.
#[async_trait]
pub trait MaintainStore: Send + Sync {
    /// RETRYING and due → PENDING. Answers how many.
    async fn promote_due(&self, limit: u32) -> Result<u64, StoreError>;

    /// PROCESSING with a lease that ran out → RETRYING, due at once, with one interruption counted,
    /// `lease lost` in the history, and the outcome marked as unknown. Answers how many.
    async fn take_over_lost_leases(&self, limit: u32) -> Result<u64, StoreError>;

    /// PENDING or RETRYING, and interrupted `interruptions_max` times or more → FAILED as poison;
    /// PENDING or RETRYING, never begun, and past `valid_until` → FAILED as expired. What follows
    /// for the withdrawal is written in the same transaction. Answers what it failed.
    async fn fail_hopeless(
        &self,
        interruptions_max: u32,
        limit: u32,
    ) -> Result<Vec<(EventId, FailureReason)>, StoreError>;
}

// ---------------------------------------------------------------- checkpoints

/// What a handler stores during an attempt and finds again in the next.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    async fn load_checkpoint(&self, event: EventId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the checkpoint, if the lease is still held. Answers whether it was.
    async fn save_checkpoint(&self, lease: LeaseRef, bytes: &[u8]) -> Result<bool, StoreError>;
}

// ---------------------------------------------------------------- the chain

/// What signing and confirmation need.
#[async_trait]
pub trait ChainStore: Send + Sync {
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

    /// Makes the account known, with `chain_nonce` as its first nonce. A repeat changes nothing.
    async fn register_account(
        &self,
        chain_id: u64,
        address: &str,
        chain_nonce: u64,
    ) -> Result<Account, StoreError>;

    /// Stops all signing for the account. A repeat keeps the first reason.
    async fn freeze_account(
        &self,
        chain_id: u64,
        address: &str,
        reason: &str,
    ) -> Result<(), StoreError>;

    /// Payments of this chain for which something was signed and whose withdrawal is REQUESTED or
    /// BROADCASTED, in the order of (account, nonce), behind `after`.
    async fn open_payments(
        &self,
        chain_id: u64,
        after: Option<(String, u64)>,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError>;

    /// Takes a withdrawal through transitions that the chain gave evidence for, one after another,
    /// with their events, in one transaction. Steps that were taken before are passed over.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub chain_id: u64,
    pub address: String,
    /// The nonce that the next withdrawal gets.
    pub next_nonce: u64,
    pub frozen_reason: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Conclude {
    pub withdrawal: WithdrawalId,
    pub transitions: Vec<Transition>,
    /// What the chain said, kept in the withdrawal's history. JSON text.
    pub evidence: String,
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

// ---------------------------------------------------------------- operating

/// What people and programs look at, and repair.
#[async_trait]
pub trait OperateStore: Send + Sync {
    async fn withdrawal(&self, id: WithdrawalId) -> Result<Option<Withdrawal>, StoreError>;

    /// Newest first.
    async fn withdrawals(
        &self,
        filter: &WithdrawalFilter,
        page: Page,
    ) -> Result<Vec<Withdrawal>, StoreError>;

    /// Everything that happened to a withdrawal; none if there is no such withdrawal.
    async fn timeline(&self, id: WithdrawalId) -> Result<Option<Timeline>, StoreError>;

    async fn event(&self, id: EventId) -> Result<Option<EventHistory>, StoreError>;

    /// Newest first.
    async fn events(
        &self,
        filter: &EventFilter,
        page: Page,
    ) -> Result<Vec<OutboxEvent>, StoreError>;

    /// FAILED → PENDING with its counters at zero, and `replayed` with who asked in the history.
    /// Takes FAILED only.
    async fn replay(&self, event: EventId, asked_by: &str) -> Result<Replayed, StoreError>;

    /// Reads one row: whether the store can be reached.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Finishes what was begun and closes every connection. Calls that come later are answered
    /// `Unavailable`; a repeat does nothing.
    async fn close(&self) {}
}

/// What an event went through before an attempt, as `decide` wants it.
#[must_use]
pub fn counters(event: &OutboxEvent) -> Counters {
    Counters { attempts: event.attempt_count, deferrals: event.deferral_count }
}
