//! What the rules say about a signature that is about to be made, and what is kept of it.

use super::{facts, freezes, of_withdrawal, waits};
use crate::domain::{
    ExternalAnswer, Payment, Policies, PolicyFacts, PolicyOutcome, PolicyRuling, SignedTransaction,
    SigningRefusal, WithdrawalId, decide_policy, replacement_ruling,
};
use crate::store::checks::Dialect;
use crate::store::releases::{Outcome, Statements};
use crate::store::row::{Columns, named, one_of};
use crate::store::{PolicyDecision, StoreError};

pub(super) const DOING: &str = "decide by the policies";

/// What the caller does next.
pub(in crate::store) enum Judged {
    /// Nothing stands against it; what is said of it is kept with the signature. None: the withdrawal
    /// has a signature, so it was decided before.
    Passed(Option<PolicyRuling>),
    /// The ruling is written: the caller commits, and signs nothing.
    Stopped(SigningRefusal),
}

/// Decides whether a payment may be signed, before a nonce is bound to it. The caller holds the
/// withdrawal's lock; the locks that are taken here are held until its transaction ends.
pub(in crate::store) async fn judge<C: Statements>(
    c: &mut C,
    policies: &Policies,
    payment: &Payment,
    account: &str,
) -> Result<Judged, StoreError> {
    let withdrawal = &payment.withdrawal;
    if !payment.transactions.is_empty() {
        freezes::hold_off(c, DOING).await?;
        let frozen = freezes::holding(c, DOING, withdrawal.id, &withdrawal.request).await?;
        let facts = PolicyFacts { frozen, ..PolicyFacts::default() };
        return Ok(match replacement_ruling(&facts) {
            None => Judged::Passed(None),
            Some(ruling) => stop(c, policies, withdrawal.id, account, ruling).await?,
        });
    }
    let facts = facts::read(c, policies, withdrawal, account).await?;
    let ruling = decide_policy(policies, withdrawal, &facts);
    Ok(match ruling.outcome {
        PolicyOutcome::Allow => Judged::Passed((!policies.is_empty()).then_some(ruling)),
        PolicyOutcome::Wait | PolicyOutcome::Deny => {
            stop(c, policies, withdrawal.id, account, ruling).await?
        }
    })
}

async fn stop<C: Statements>(
    c: &mut C,
    policies: &Policies,
    id: WithdrawalId,
    account: &str,
    ruling: PolicyRuling,
) -> Result<Judged, StoreError> {
    write(c, policies, id, account, &ruling).await?;
    let PolicyRuling { outcome, rule, reason, .. } = ruling;
    Ok(Judged::Stopped(match outcome {
        PolicyOutcome::Deny => SigningRefusal::Refused { rule, reason },
        PolicyOutcome::Wait | PolicyOutcome::Allow => SigningRefusal::Wait { rule, reason },
    }))
}

/// Something is signed: keeps why it might be, and that the withdrawal waits no more.
pub(in crate::store) async fn keep_ruling<C: Statements>(
    c: &mut C,
    policies: &Policies,
    signed: &SignedTransaction,
    ruling: Option<PolicyRuling>,
) -> Result<(), StoreError> {
    if let Some(ruling) = ruling {
        write(c, policies, signed.withdrawal, &signed.account, &ruling).await?;
    }
    waits::clear(c, signed.withdrawal).await
}

/// A withdrawal that waits is asked about again and again: what says the same as the last decision
/// is not written.
async fn write<C: Statements>(
    c: &mut C,
    policies: &Policies,
    id: WithdrawalId,
    account: &str,
    ruling: &PolicyRuling,
) -> Result<(), StoreError> {
    let last = of_withdrawal(
        c,
        "SELECT policy_version, outcome, rule, account FROM policy_decisions \
         WHERE withdrawal_id = {id} ORDER BY id DESC LIMIT 1",
    );
    let rows = c.rows(DOING, &last, vec![id.to_string().into()]).await?;
    if let Some(row) = rows.first() {
        let same = named("policy_decisions", "policy_version", row, |row| {
            Ok(row.text("policy_version")? == policies.version()
                && row.text("outcome")? == ruling.outcome.as_str()
                && row.text("rule")? == ruling.rule
                && row.text("account")? == account)
        })?;
        if same {
            return Ok(());
        }
    }
    let figures: serde_json::Map<String, serde_json::Value> = ruling
        .figures
        .iter()
        .map(|(name, value)| ((*name).into(), value.as_str().into()))
        .collect();
    let json = match c.dialect() {
        Dialect::Postgres => "CAST($7 AS json)",
        Dialect::Sqlite { .. } => "$7",
    };
    let sql = format!(
        "INSERT INTO policy_decisions (withdrawal_id, policy_version, account, outcome, rule, \
         reason, figures, decided_at) VALUES ({{id}}, $2, $3, $4, $5, $6, {json}, {{now}})"
    );
    let sql = of_withdrawal(c, &sql);
    let values = vec![
        id.to_string().into(),
        policies.version().into(),
        account.into(),
        ruling.outcome.as_str().into(),
        ruling.rule.into(),
        ruling.reason.as_str().into(),
        serde_json::Value::Object(figures).to_string().into(),
    ];
    c.execute(DOING, &sql, values).await.map(drop)
}

pub(super) async fn decisions<C: Statements>(
    c: &mut C,
    id: WithdrawalId,
) -> Result<Vec<PolicyDecision>, StoreError> {
    let sql = of_withdrawal(
        c,
        "SELECT id, policy_version, account, outcome, rule, reason, \
         CAST(figures AS text) AS figures, decided_at FROM policy_decisions \
         WHERE withdrawal_id = {id} ORDER BY id",
    );
    let rows = c.rows(DOING, &sql, vec![id.to_string().into()]).await?;
    rows.iter().map(decode).collect()
}

fn decode<R: Columns>(row: &R) -> Result<PolicyDecision, StoreError> {
    named("policy_decisions", "id", row, |row| {
        Ok(PolicyDecision {
            policy_version: row.text("policy_version")?,
            account: row.text("account")?,
            outcome: one_of(&PolicyOutcome::ALL, PolicyOutcome::as_str, &row.text("outcome")?)?,
            rule: row.text("rule")?,
            reason: row.text("reason")?,
            figures: row.text("figures")?,
            decided_at: row.time("decided_at")?,
        })
    })
}

pub(super) async fn keep_answer<C: Statements>(
    c: &mut C,
    policies: &Policies,
    id: WithdrawalId,
    facts: String,
    answer: ExternalAnswer,
) -> Result<Outcome<()>, StoreError> {
    let sql = of_withdrawal(
        c,
        "INSERT INTO policy_answers (withdrawal_id, policy_version, facts, verdict, reason, \
         answered_at) VALUES ({id}, $2, $3, $4, $5, {now})",
    );
    let (verdict, reason) = match answer {
        ExternalAnswer::Allow => ("ALLOW", String::new()),
        ExternalAnswer::Deny { reason } => ("DENY", reason),
    };
    let values = vec![
        id.to_string().into(),
        policies.version().into(),
        facts.into(),
        verdict.into(),
        reason.into(),
    ];
    c.execute(DOING, &sql, values).await?;
    Ok(Outcome::Keep(()))
}
