//! Who agrees to a withdrawal.

use std::collections::BTreeSet;

use super::{OwnedNote, facts, of_withdrawal, waits};
use crate::domain::{ApprovalRule, Policies, Withdrawal, WithdrawalId, WithdrawalStatus};
use crate::store::checks::Dialect;
use crate::store::policing::HOLDS_MAX;
use crate::store::releases::{Outcome, Statements};
use crate::store::row::{self, Columns, named};
use crate::store::writes::micros;
use crate::store::{
    AWAITED_MAX, AwaitedApprovals, NoApproval, StoreError, WithdrawalApproval, WithdrawalApproved,
};

pub(super) const DOING: &str = "approve a withdrawal";

const APPROVAL: &str = "approver, policy_version, reason, approved_at, expires_at";

pub(super) async fn approve<C: Statements>(
    c: &mut C,
    policies: &Policies,
    id: WithdrawalId,
    note: OwnedNote,
    may_submit: bool,
) -> Result<Outcome<WithdrawalApproved>, StoreError> {
    let Some((withdrawal, requested_by, signed)) = locked(c, id).await? else {
        return Ok(Outcome::Undo(WithdrawalApproved::NotFound));
    };
    let requester = requested_by.as_deref();
    let refusal = refused(policies, &withdrawal, requester, signed, &note.by, may_submit);
    if let Some(refusal) = refusal {
        return Ok(Outcome::Undo(WithdrawalApproved::Refused(refusal)));
    }
    if let Some(approval) = held(c, policies, id, &note.by).await? {
        return Ok(Outcome::Undo(WithdrawalApproved::Already(approval)));
    }
    // One reading of the clock, so that it holds for exactly as long as the rules say.
    let (clock, ttl) = (c.dialect(), policies.rules().approval_ttl.min(HOLDS_MAX));
    let (now, until) = (clock.at(0), clock.at(micros(ttl)));
    let amount = match c.dialect() {
        Dialect::Postgres => "CAST($6 AS numeric)",
        Dialect::Sqlite { .. } => "$6",
    };
    let sql = format!(
        "INSERT INTO withdrawal_approvals (withdrawal_id, approver, policy_version, asset, network, \
         amount, destination_address, reason, approved_at, expires_at) \
         VALUES ({{id}}, $2, $3, $4, $5, {amount}, $7, $8, {now}, {until})"
    );
    let sql = of_withdrawal(c, &sql);
    let request = &withdrawal.request;
    let values = vec![
        id.to_string().into(),
        note.by.as_str().into(),
        policies.version().into(),
        request.asset.as_str().into(),
        request.network.as_str().into(),
        request.amount.to_string().into(),
        request.destination_address.as_str().into(),
        note.reason.into(),
    ];
    c.execute(DOING, &sql, values).await?;
    waits::wake(c, DOING, id).await?;
    let kept = held(c, policies, id, &note.by).await?;
    let kept = kept.ok_or_else(|| StoreError::conflict(DOING, "the approval is gone"))?;
    Ok(Outcome::Keep(WithdrawalApproved::Now(kept)))
}

/// The withdrawal under its lock, who handed it in, and whether something is signed for it.
async fn locked<C: Statements>(
    c: &mut C,
    id: WithdrawalId,
) -> Result<Option<(Withdrawal, Option<String>, bool)>, StoreError> {
    let lock = match c.dialect() {
        Dialect::Postgres => " FOR UPDATE",
        Dialect::Sqlite { .. } => "",
    };
    let sql = format!("SELECT {} FROM withdrawals AS w WHERE w.id = {{id}}{lock}", columns(c));
    let sql = of_withdrawal(c, &sql);
    let rows = c.rows(DOING, &sql, vec![id.to_string().into()]).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    // A statement of its own, for it must see what was committed while the first one waited.
    let signed = "SELECT 1 AS one FROM withdrawal_nonces WHERE withdrawal_id = {id}";
    let signed = of_withdrawal(c, signed);
    let signed = !c.rows(DOING, &signed, vec![id.to_string().into()]).await?.is_empty();
    let requested_by = row::field("withdrawals", found.text_or_null("requested_by"))?;
    Ok(Some((row::withdrawal(found)?, requested_by, signed)))
}

/// A withdrawal's columns, as either database gives them.
fn columns<C: Statements>(c: &C) -> &'static str {
    match c.dialect() {
        Dialect::Postgres => {
            "w.id, w.user_id, w.asset, w.network, w.amount::text AS amount, \
             w.destination_address, w.status, w.tx_hash, w.failure_reason, w.requested_at, \
             w.broadcasted_at, w.confirmed_at, w.created_at, w.updated_at, w.requested_by"
        }
        Dialect::Sqlite { .. } => "w.*",
    }
}

fn refused(
    policies: &Policies,
    withdrawal: &Withdrawal,
    requested_by: Option<&str>,
    signed: bool,
    approver: &str,
    may_submit: bool,
) -> Option<NoApproval> {
    match withdrawal.state.status() {
        WithdrawalStatus::Requested => {}
        status @ (WithdrawalStatus::Broadcasted
        | WithdrawalStatus::Confirmed
        | WithdrawalStatus::Failed) => return Some(NoApproval::Ended { status: status.as_str() }),
    }
    if signed {
        return Some(NoApproval::Signed);
    }
    match requested_by {
        Some(requester) if requester == approver => return Some(NoApproval::Requester),
        None if may_submit => return Some(NoApproval::PerhapsRequester),
        Some(_) | None => {}
    }
    let mut rules = policies.approvals_for(&withdrawal.request).peekable();
    if rules.peek().is_none() {
        return Some(NoApproval::NotNeeded);
    }
    let named = rules.any(|rule| rule.approvers.is_empty() || rule.approvers.contains(approver));
    (!named).then(|| NoApproval::NotNamed(approver.to_owned()))
}

/// The approval of this approver that holds.
async fn held<C: Statements>(
    c: &mut C,
    policies: &Policies,
    id: WithdrawalId,
    approver: &str,
) -> Result<Option<WithdrawalApproval>, StoreError> {
    let sql = format!(
        "SELECT {APPROVAL} FROM withdrawal_approvals WHERE withdrawal_id = {{id}} \
         AND approver = $2 AND policy_version = $3 AND expires_at > {{now}} \
         ORDER BY id DESC LIMIT 1"
    );
    let sql = of_withdrawal(c, &sql);
    let values = vec![id.to_string().into(), approver.into(), policies.version().into()];
    c.rows(DOING, &sql, values).await?.first().map(decode).transpose()
}

pub(super) async fn of<C: Statements>(
    c: &mut C,
    id: WithdrawalId,
) -> Result<Vec<WithdrawalApproval>, StoreError> {
    let sql = format!(
        "SELECT {APPROVAL} FROM withdrawal_approvals WHERE withdrawal_id = {{id}} ORDER BY id"
    );
    let sql = of_withdrawal(c, &sql);
    let rows = c.rows(DOING, &sql, vec![id.to_string().into()]).await?;
    rows.iter().map(decode).collect()
}

pub(super) async fn awaited<C: Statements>(
    c: &mut C,
    policies: &Policies,
) -> Result<Vec<AwaitedApprovals>, StoreError> {
    if policies.rules().approvals.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {}, q.withdrawal_id, q.rule, q.reason, q.since FROM withdrawal_waits AS q \
         JOIN withdrawals AS w ON w.id = q.withdrawal_id WHERE w.status = 'REQUESTED' \
         ORDER BY q.since, q.withdrawal_id LIMIT {AWAITED_MAX}",
        columns(c)
    );
    let mut awaited = Vec::new();
    for found in &c.rows(DOING, &sql, Vec::new()).await? {
        let withdrawal = row::withdrawal(found)?;
        if policies.approvals_for(&withdrawal.request).next().is_none() {
            continue;
        }
        let approvers = facts::approvers(c, policies, &withdrawal).await?;
        let Some((rule, found_now)) = lacking(policies, &withdrawal, &approvers) else { continue };
        let approvals = held_of(c, policies, &withdrawal, &approvers).await?;
        awaited.push(AwaitedApprovals {
            requested_by: row::field("withdrawals", found.text_or_null("requested_by"))?,
            wait: waits::decode(found)?,
            needed: rule.approvals,
            found: found_now,
            approvers: rule.approvers.iter().cloned().collect(),
            approvals,
            withdrawal,
        });
    }
    Ok(awaited)
}

/// The rule that lacks most, and how many approvals count for it.
fn lacking<'p>(
    policies: &'p Policies,
    withdrawal: &'p Withdrawal,
    approvers: &BTreeSet<String>,
) -> Option<(&'p ApprovalRule, u32)> {
    let rules = policies.approvals_for(&withdrawal.request);
    let counted = rules.map(|rule| (rule, rule.counted(approvers)));
    let lacking = counted.filter(|(rule, found)| *found < rule.approvals);
    lacking.max_by_key(|(rule, found)| rule.approvals - found)
}

async fn held_of<C: Statements>(
    c: &mut C,
    policies: &Policies,
    withdrawal: &Withdrawal,
    approvers: &BTreeSet<String>,
) -> Result<Vec<WithdrawalApproval>, StoreError> {
    let mut approvals = Vec::new();
    for approver in approvers {
        approvals.extend(held(c, policies, withdrawal.id, approver).await?);
    }
    Ok(approvals)
}

fn decode<R: Columns>(row: &R) -> Result<WithdrawalApproval, StoreError> {
    named("withdrawal_approvals", "approver", row, |row| {
        Ok(WithdrawalApproval {
            approver: row.text("approver")?,
            policy_version: row.text("policy_version")?,
            reason: row.text("reason")?,
            approved_at: row.time("approved_at")?,
            expires_at: row.time("expires_at")?,
        })
    })
}
