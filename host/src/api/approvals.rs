//! What people say about withdrawals that the policies hold: `/v1/approvals`, and under a
//! withdrawal `approve`, `reject` and `decisions`. They need no key: a repeat changes nothing and
//! says so.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::WithdrawalId;
use crate::store::{
    Approver, AwaitedApprovals, ControlNote, NoApproval, PolicyDecision, WithdrawalApproval,
    WithdrawalApproved, WithdrawalRejected,
};

use super::auth::{Caller, Role};
use super::path::PathId;
use super::problem::{Problem, ProblemKind};
use super::query::Query;
use super::routes::read_reason;
use super::state::Shared;
use super::view::{WithdrawalView, json, time};

#[derive(Debug, Serialize)]
pub(super) struct AwaitedListView {
    items: Vec<AwaitedView>,
}

/// A withdrawal that lacks approvals.
#[derive(Debug, Serialize)]
struct AwaitedView {
    withdrawal: WithdrawalView,
    requested_by: Option<String>,
    needed: u32,
    found: u32,
    /// Whose would count; empty: everybody's with the role.
    approvers: Vec<String>,
    approvals: Vec<ApprovalView>,
}

#[derive(Debug, Serialize)]
pub(super) struct ApprovalView {
    approver: String,
    reason: String,
    policy_version: String,
    approved_at: String,
    /// Until when it counts.
    expires_at: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ApprovedView {
    withdrawal_id: String,
    approval: ApprovalView,
    /// False if this caller's approval still held.
    changed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct RejectedView {
    withdrawal_id: String,
    status: &'static str,
    /// False if it was FAILED already.
    changed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct DecisionListView {
    items: Vec<DecisionView>,
    approvals: Vec<ApprovalView>,
}

#[derive(Debug, Serialize)]
struct DecisionView {
    outcome: &'static str,
    rule: String,
    reason: String,
    figures: Option<Box<RawValue>>,
    account: String,
    policy_version: String,
    decided_at: String,
}

impl From<WithdrawalApproval> for ApprovalView {
    fn from(approval: WithdrawalApproval) -> Self {
        Self {
            approver: approval.approver,
            reason: approval.reason,
            policy_version: approval.policy_version,
            approved_at: time(approval.approved_at),
            expires_at: time(approval.expires_at),
        }
    }
}

impl From<AwaitedApprovals> for AwaitedView {
    fn from(awaited: AwaitedApprovals) -> Self {
        Self {
            withdrawal: WithdrawalView::waiting(awaited.withdrawal, Some(awaited.wait)),
            requested_by: awaited.requested_by,
            needed: awaited.needed,
            found: awaited.found,
            approvers: awaited.approvers,
            approvals: awaited.approvals.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PolicyDecision> for DecisionView {
    fn from(decision: PolicyDecision) -> Self {
        Self {
            outcome: decision.outcome.as_str(),
            rule: decision.rule,
            reason: decision.reason,
            figures: json(decision.figures),
            account: decision.account,
            policy_version: decision.policy_version,
            decided_at: time(decision.decided_at),
        }
    }
}

pub(super) async fn list_approvals(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<AwaitedListView>, Problem> {
    Query::new(&uri).finish()?;
    let awaited = shared.api.policies.awaited_approvals().await?;
    Ok(Json(AwaitedListView { items: awaited.into_iter().map(Into::into).collect() }))
}

pub(super) async fn list_decisions(
    State(shared): State<Shared>,
    PathId(id): PathId<WithdrawalId>,
) -> Result<Json<DecisionListView>, Problem> {
    if shared.api.operate.withdrawal(id).await?.is_none() {
        return Err(Problem::not_found("withdrawal"));
    }
    let decisions = shared.api.policies.policy_decisions(id).await?;
    let approvals = shared.api.policies.approvals_of(id).await?;
    Ok(Json(DecisionListView {
        items: decisions.into_iter().map(Into::into).collect(),
        approvals: approvals.into_iter().map(Into::into).collect(),
    }))
}

pub(super) async fn approve_withdrawal(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<WithdrawalId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ApprovedView>, Problem> {
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let token = shared.api.tokens.named(&caller.name);
    // A token that is gone meanwhile may have been anybody's.
    let may_submit = token.is_none_or(|token| token.roles.contains(&Role::Submit));
    let approver = Approver { name: &caller.name, reason: &reason, may_submit };
    let (approval, changed) = match shared.api.policies.approve_withdrawal(id, approver).await? {
        WithdrawalApproved::Now(approval) => (approval, true),
        WithdrawalApproved::Already(approval) => (approval, false),
        WithdrawalApproved::NotFound => return Err(Problem::not_found("withdrawal")),
        WithdrawalApproved::Refused(why) => return Err(not_approved(&why)),
    };
    tracing::warn!(withdrawal.id = %id, by = caller.name, reason, changed, "a withdrawal is approved");
    Ok(Json(ApprovedView { withdrawal_id: id.to_string(), approval: approval.into(), changed }))
}

fn not_approved(why: &NoApproval) -> Problem {
    let kind = match why {
        NoApproval::Requester | NoApproval::PerhapsRequester | NoApproval::NotNamed(_) => {
            ProblemKind::Forbidden
        }
        NoApproval::Ended { .. } | NoApproval::Signed | NoApproval::NotNeeded => {
            ProblemKind::WithdrawalNotApprovable
        }
    };
    Problem::new(kind, format!("The withdrawal was not approved: {why}."))
}

pub(super) async fn reject_withdrawal(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<WithdrawalId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RejectedView>, Problem> {
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ControlNote { reason: &reason, by: &caller.name };
    let changed = match shared.api.policies.reject_withdrawal(id, note).await? {
        WithdrawalRejected::Now => true,
        WithdrawalRejected::Already => false,
        WithdrawalRejected::NotFound => return Err(Problem::not_found("withdrawal")),
        WithdrawalRejected::Signed => {
            let detail = "A transaction is signed for it, so it may be paid whatever is said here. \
                          To stop it, cancel it: the chain then decides.";
            return Err(Problem::new(ProblemKind::WithdrawalSigned, detail));
        }
    };
    tracing::warn!(withdrawal.id = %id, by = caller.name, reason, changed, "a withdrawal is rejected");
    Ok(Json(RejectedView { withdrawal_id: id.to_string(), status: "FAILED", changed }))
}
