//! Policies, for both databases: each statement is written once, as those about releases are. What
//! decides is the domain; here its facts are read, under locks that make them exact, and its
//! rulings kept.

mod approvals;
mod facts;
mod freezes;
mod judge;
mod waits;

use std::sync::Arc;

use async_trait::async_trait;

pub(super) use self::judge::{Judged, judge, keep_ruling};
pub(super) use self::waits::{by_rule, clear};
use super::checks::Dialect;
use super::releases::{Outcome, Statements, Transactions};
use super::{
    Approver, AwaitedApprovals, ControlChange, ControlNote, PolicyDecision, PolicyStore,
    StoreError, WithdrawalApproval, WithdrawalApproved, WithdrawalRejected, WithdrawalWait,
};
use crate::domain::{ExternalAnswer, Freeze, FreezeSubject, Policies, WithdrawalId};

/// A store that policies are kept in.
#[async_trait]
pub(super) trait PolicyBase: Transactions {
    /// The rules that it was opened with.
    fn policies(&self) -> &Arc<Policies>;

    /// Fails a withdrawal for which nothing was signed.
    async fn fail_unsigned(
        &self,
        id: WithdrawalId,
        reason: String,
    ) -> Result<WithdrawalRejected, StoreError>;
}

/// A note that outlives its caller.
struct OwnedNote {
    reason: String,
    by: String,
}

impl From<ControlNote<'_>> for OwnedNote {
    fn from(note: ControlNote<'_>) -> Self {
        Self { reason: note.reason.to_owned(), by: note.by.to_owned() }
    }
}

/// A statement whose `{id}` is a withdrawal's, bound as `$1`.
fn of_withdrawal<C: Statements>(c: &C, sql: &str) -> String {
    let id = match c.dialect() {
        Dialect::Postgres => "CAST($1 AS uuid)",
        Dialect::Sqlite { .. } => "$1",
    };
    sql.replace("{id}", id)
}

#[async_trait]
impl<D: PolicyBase> PolicyStore for D {
    async fn approve_withdrawal(
        &self,
        id: WithdrawalId,
        approver: Approver<'_>,
    ) -> Result<WithdrawalApproved, StoreError> {
        let policies = Arc::clone(self.policies());
        let may_submit = approver.may_submit;
        let note = OwnedNote { reason: approver.reason.to_owned(), by: approver.name.to_owned() };
        let approved = self
            .change(approvals::DOING, move |c| {
                Box::pin(
                    async move { approvals::approve(c, &policies, id, note, may_submit).await },
                )
            })
            .await?;
        Ok(approved)
    }

    async fn reject_withdrawal(
        &self,
        id: WithdrawalId,
        note: ControlNote<'_>,
    ) -> Result<WithdrawalRejected, StoreError> {
        self.fail_unsigned(id, format!("rejected by {}: {}", note.by, note.reason)).await
    }

    async fn awaited_approvals(&self) -> Result<Vec<AwaitedApprovals>, StoreError> {
        let policies = Arc::clone(self.policies());
        self.read(approvals::DOING, move |c| {
            Box::pin(async move { approvals::awaited(c, &policies).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn policy_decisions(&self, id: WithdrawalId) -> Result<Vec<PolicyDecision>, StoreError> {
        self.read(judge::DOING, move |c| {
            Box::pin(async move { judge::decisions(c, id).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn approvals_of(&self, id: WithdrawalId) -> Result<Vec<WithdrawalApproval>, StoreError> {
        self.read(approvals::DOING, move |c| {
            Box::pin(async move { approvals::of(c, id).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn freeze(
        &self,
        subject: &FreezeSubject,
        note: ControlNote<'_>,
    ) -> Result<(Freeze, ControlChange), StoreError> {
        let (subject, note) = (subject.clone(), OwnedNote::from(note));
        self.change(freezes::DOING, move |c| {
            Box::pin(async move { freezes::freeze(c, subject, note).await })
        })
        .await
    }

    async fn lift_freeze(
        &self,
        id: i64,
        note: ControlNote<'_>,
    ) -> Result<Option<ControlChange>, StoreError> {
        let note = OwnedNote::from(note);
        self.change(freezes::DOING, move |c| {
            Box::pin(async move { freezes::lift(c, id, note).await })
        })
        .await
    }

    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError> {
        self.read(freezes::DOING, |c| {
            Box::pin(async move { freezes::all(c).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn keep_external_answer(
        &self,
        id: WithdrawalId,
        facts: &str,
        answer: &ExternalAnswer,
    ) -> Result<(), StoreError> {
        let policies = Arc::clone(self.policies());
        let (facts, answer) = (facts.to_owned(), answer.clone());
        self.change(judge::DOING, move |c| {
            Box::pin(async move { judge::keep_answer(c, &policies, id, facts, answer).await })
        })
        .await
    }

    async fn note_wait(
        &self,
        id: WithdrawalId,
        rule: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (rule, reason) = (rule.to_owned(), reason.to_owned());
        self.change(waits::DOING, move |c| {
            Box::pin(async move { waits::note(c, id, rule, reason).await })
        })
        .await
    }

    async fn waits(&self, ids: &[WithdrawalId]) -> Result<Vec<WithdrawalWait>, StoreError> {
        let ids = ids.to_vec();
        self.read(waits::DOING, move |c| {
            Box::pin(async move { waits::of(c, &ids).await.map(Outcome::Undo) })
        })
        .await
    }
}
