//! What people and services say about withdrawals before anything is signed, and what withdrawals
//! wait for.

use std::time::Duration;

use async_trait::async_trait;

use super::{ControlChange, ControlNote, StoreError};
use crate::domain::{
    ExternalAnswer, Freeze, FreezeSubject, PolicyOutcome, Timestamp, Withdrawal, WithdrawalId,
};

/// More withdrawals than this are not listed as waiting for approval: the oldest come first.
pub const AWAITED_MAX: u32 = 1_000;

/// What policies need besides signing itself: see [`super::ChainStore::sign_payment`], which
/// decides. The rules are those that the store was opened with.
#[async_trait]
pub trait PolicyStore: Send + Sync {
    /// Approves exactly this payment, under the rules as they are, for as long as they say. Takes
    /// withdrawals that need approvals and have no signature. Wakes its broadcast. A repeat while
    /// the first one holds writes nothing.
    async fn approve_withdrawal(
        &self,
        id: WithdrawalId,
        approver: Approver<'_>,
    ) -> Result<WithdrawalApproved, StoreError>;

    /// Fails a withdrawal for which nothing was signed, at once. A repeat changes nothing.
    async fn reject_withdrawal(
        &self,
        id: WithdrawalId,
        note: ControlNote<'_>,
    ) -> Result<WithdrawalRejected, StoreError>;

    /// The withdrawals that wait and lack approvals, oldest wait first; at most [`AWAITED_MAX`].
    async fn awaited_approvals(&self) -> Result<Vec<AwaitedApprovals>, StoreError>;

    /// Everything that was decided about a withdrawal, oldest first.
    async fn policy_decisions(&self, id: WithdrawalId) -> Result<Vec<PolicyDecision>, StoreError>;

    /// Every approval that a withdrawal ever got, oldest first.
    async fn approvals_of(&self, id: WithdrawalId) -> Result<Vec<WithdrawalApproval>, StoreError>;

    /// Holds something from being signed. Once it is answered, nothing of it is signed any more. A
    /// repeat keeps the first reason.
    async fn freeze(
        &self,
        subject: &FreezeSubject,
        note: ControlNote<'_>,
    ) -> Result<(Freeze, ControlChange), StoreError>;

    /// Lets go of it, and wakes what waited for it. None: there is no such freeze.
    async fn lift_freeze(
        &self,
        id: i64,
        note: ControlNote<'_>,
    ) -> Result<Option<ControlChange>, StoreError>;

    /// What is frozen now, oldest first.
    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError>;

    /// Keeps what the external service said. `facts` is [`crate::domain::facts_digest`].
    async fn keep_external_answer(
        &self,
        id: WithdrawalId,
        facts: &str,
        answer: &ExternalAnswer,
    ) -> Result<(), StoreError>;

    /// Notes what a withdrawal waits for. `since` stays while the rule does.
    async fn note_wait(&self, id: WithdrawalId, rule: &str, reason: &str)
    -> Result<(), StoreError>;

    /// What these withdrawals wait for; those that wait for nothing are left out.
    async fn waits(&self, ids: &[WithdrawalId]) -> Result<Vec<WithdrawalWait>, StoreError>;
}

/// Who approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approver<'a> {
    pub name: &'a str,
    pub reason: &'a str,
    /// Whether this caller may hand in withdrawals. Where nobody noted who asked, it may be they.
    pub may_submit: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawalApproved {
    Now(WithdrawalApproval),
    /// This approver's approval still holds.
    Already(WithdrawalApproval),
    NotFound,
    /// Why this approval is none.
    Refused(NoApproval),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoApproval {
    #[error("it is {status}: there is nothing to approve any more")]
    Ended { status: &'static str },
    #[error("something is signed for it, so it was allowed before")]
    Signed,
    #[error("no policy asks for approvals of it")]
    NotNeeded,
    #[error("who handed it in does not approve it")]
    Requester,
    #[error(
        "it is not known who handed it in, so only a caller without the role submit approves it"
    )]
    PerhapsRequester,
    #[error("the policies do not name {0:?} among its approvers")]
    NotNamed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawalRejected {
    Now,
    /// It is FAILED already.
    Already,
    NotFound,
    /// Something is signed: only the chain can end it.
    Signed,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalApproval {
    pub approver: String,
    pub policy_version: String,
    pub reason: String,
    pub approved_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A withdrawal that lacks approvals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedApprovals {
    pub withdrawal: Withdrawal,
    pub requested_by: Option<String>,
    pub wait: WithdrawalWait,
    /// How many the rule needs that lacks most.
    pub needed: u32,
    /// How many of them count now.
    pub found: u32,
    /// Whose would count; empty: everybody's with the role.
    pub approvers: Vec<String>,
    /// Those that count or would, under these rules, and still hold.
    pub approvals: Vec<WithdrawalApproval>,
}

/// One decision, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDecision {
    pub policy_version: String,
    pub account: String,
    pub outcome: PolicyOutcome,
    pub rule: String,
    pub reason: String,
    /// JSON text.
    pub figures: String,
    pub decided_at: Timestamp,
}

/// What a withdrawal waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalWait {
    pub withdrawal: WithdrawalId,
    pub rule: String,
    pub reason: String,
    pub since: Timestamp,
}

/// How long an approval or an answer lasts is the rules' matter; nothing here is longer than this.
pub(super) const HOLDS_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
