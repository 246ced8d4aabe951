//! What a ruling depends on, read under the locks that keep it so until the signature is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{freezes, judge::DOING, of_withdrawal};
use crate::domain::{
    Amount, ExternalAnswer, Network, Policies, PolicyFacts, WindowRule, WindowScope, Withdrawal,
    WithdrawalId, facts_digest,
};
use crate::store::StoreError;
use crate::store::checks::Dialect;
use crate::store::policing::HOLDS_MAX;
use crate::store::releases::{Statements, Value};
use crate::store::row::{self, Columns};
use crate::store::writes::micros;

/// Everything that the rules ask for. `account` would pay, on the withdrawal's network.
pub(super) async fn read<C: Statements>(
    c: &mut C,
    policies: &Policies,
    withdrawal: &Withdrawal,
    account: &str,
) -> Result<PolicyFacts, StoreError> {
    let request = &withdrawal.request;
    freezes::hold_off(c, DOING).await?;
    let frozen = freezes::holding(c, DOING, withdrawal.id, request).await?;
    let mut facts = PolicyFacts { frozen, ..PolicyFacts::default() };
    if facts.frozen.is_some() || policies.is_empty() {
        return Ok(facts);
    }
    hold_windows(c, policies, withdrawal, account).await?;
    for rule in policies.windows_for(request) {
        facts.spent.push(spent(c, rule, withdrawal, account).await?);
    }
    let rule = policies.destinations_of(&request.network);
    if rule.is_some_and(|rule| !rule.cooling_off.is_zero() && rule.allow.is_none()) {
        facts.paid_before = paid_before(c, withdrawal).await?;
        facts.age = age(c, withdrawal.id).await?;
    }
    if policies.approvals_for(request).next().is_some() {
        facts.approvers = approvers(c, policies, withdrawal).await?;
    }
    if let Some(rule) = &policies.rules().external {
        facts.external = answered(c, policies, withdrawal, rule.holds).await?;
    }
    Ok(facts)
}

/// Whoever else wants room in one of these windows waits until this is stored or undone. Taken in
/// one order, so that nobody waits in a circle.
async fn hold_windows<C: Statements>(
    c: &mut C,
    policies: &Policies,
    withdrawal: &Withdrawal,
    account: &str,
) -> Result<(), StoreError> {
    if matches!(c.dialect(), Dialect::Sqlite { .. }) {
        return Ok(());
    }
    let request = &withdrawal.request;
    let network = request.network.as_str();
    let keys: BTreeSet<String> = policies
        .windows_for(request)
        .map(|WindowRule { per, scope, .. }| {
            let (asset, per_what) = (&scope.asset, per.as_str());
            match per {
                WindowScope::User => {
                    let network = scope.network.as_ref().map_or("*", Network::as_str);
                    format!("{per_what} {network} {asset} {}", request.user_id)
                }
                WindowScope::Account => format!("{per_what} {network} {asset} {account}"),
                WindowScope::Network => format!("{per_what} {network} {asset}"),
            }
        })
        .collect();
    for key in keys {
        // Two windows that share a number only wait for each other, too.
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended('tidegate window ' || $1, 0))";
        c.rows(DOING, sql, vec![key.into()]).await?;
    }
    Ok(())
}

/// What other withdrawals hold of a window: those in flight (which have a nonce, and so a signature
/// that may be mined any time), and those that were confirmed within it.
async fn spent<C: Statements>(
    c: &mut C,
    rule: &WindowRule,
    withdrawal: &Withdrawal,
    account: &str,
) -> Result<Option<Amount>, StoreError> {
    let request = &withdrawal.request;
    let mut values: Vec<Value> =
        vec![withdrawal.id.to_string().into(), request.asset.as_str().into()];
    let mut and = |column: &str, value: &str| {
        values.push(value.into());
        format!(" AND {column} = ${}", values.len())
    };
    let of = match (rule.per, &rule.scope.network) {
        (WindowScope::User, None) => and("w.user_id", &request.user_id),
        (WindowScope::User, Some(network)) => {
            and("w.user_id", &request.user_id) + &and("w.network", network.as_str())
        }
        (WindowScope::Account, _) => {
            and("n.account", account) + &and("w.network", request.network.as_str())
        }
        (WindowScope::Network, _) => and("w.network", request.network.as_str()),
    };
    let dialect = c.dialect();
    let since = dialect.at(-micros(rule.window));
    // SQLite has no sum of decimals: there they are added up here.
    let amount = match dialect {
        Dialect::Postgres => "CAST(sum(w.amount) AS text)",
        Dialect::Sqlite { .. } => "w.amount",
    };
    let select = format!(
        "SELECT {amount} AS amount FROM withdrawals AS w \
         JOIN withdrawal_nonces AS n ON n.withdrawal_id = w.id WHERE w.asset = $2{of}"
    );
    let sql = format!(
        "{select} AND w.id <> {{id}} AND w.status IN ('REQUESTED', 'BROADCASTED') UNION ALL \
         {select} AND w.id <> {{id}} AND w.status = 'CONFIRMED' AND w.confirmed_at > {since}"
    );
    let sql = of_withdrawal(c, &sql);
    let mut sum: Option<Amount> = None;
    for found in &c.rows(DOING, &sql, values).await? {
        let amount = row::field("withdrawals", found.text_or_null("amount"))?;
        let Some(amount) = amount else { continue };
        let amount: Amount = row::field(
            "withdrawals",
            Amount::of_sum(&amount).ok_or_else(|| format!("amount cannot be {amount:?}")),
        )?;
        sum = Some(sum.map_or_else(|| amount.clone(), |sum| sum.plus(&amount)));
    }
    Ok(sum)
}

async fn paid_before<C: Statements>(
    c: &mut C,
    withdrawal: &Withdrawal,
) -> Result<bool, StoreError> {
    let request = &withdrawal.request;
    let exact = match request.network.namespace() {
        "eip155" => "",
        _ => " AND destination_address = $2",
    };
    let sql = format!(
        "SELECT status FROM withdrawals WHERE network = $1 \
         AND lower(destination_address) = lower($2){exact} AND confirmed_at IS NOT NULL LIMIT 1"
    );
    let values = vec![request.network.as_str().into(), request.destination_address.as_str().into()];
    Ok(!c.rows(DOING, &sql, values).await?.is_empty())
}

/// How long ago it was written here, by the database's clock.
async fn age<C: Statements>(c: &mut C, id: WithdrawalId) -> Result<Duration, StoreError> {
    let age = c.age("created_at");
    let sql = of_withdrawal(c, &format!("SELECT {age} AS age FROM withdrawals WHERE id = {{id}}"));
    let rows = c.rows(DOING, &sql, vec![id.to_string().into()]).await?;
    let age = match rows.first() {
        Some(found) => row::field("withdrawals", found.integer("age"))?,
        None => 0,
    };
    // Clocks may have been set back.
    Ok(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
}

/// Whose approvals hold: of exactly this payment, under exactly these rules, but for the
/// requester's own.
pub(super) async fn approvers<C: Statements>(
    c: &mut C,
    policies: &Policies,
    withdrawal: &Withdrawal,
) -> Result<BTreeSet<String>, StoreError> {
    let sql = of_withdrawal(
        c,
        "SELECT a.approver, CAST(a.amount AS text) AS amount FROM withdrawal_approvals AS a \
         JOIN withdrawals AS w ON w.id = a.withdrawal_id WHERE a.withdrawal_id = {id} \
         AND a.policy_version = $2 AND a.asset = $3 AND a.network = $4 \
         AND a.destination_address = $5 AND a.expires_at > {now} \
         AND (w.requested_by IS NULL OR w.requested_by <> a.approver)",
    );
    let request = &withdrawal.request;
    let values = vec![
        withdrawal.id.to_string().into(),
        policies.version().into(),
        request.asset.as_str().into(),
        request.network.as_str().into(),
        request.destination_address.as_str().into(),
    ];
    let mut names = BTreeSet::new();
    for found in &c.rows(DOING, &sql, values).await? {
        let amount: Amount = row::field("withdrawal_approvals", found.parse("amount"))?;
        if amount == request.amount {
            names.insert(row::field("withdrawal_approvals", found.text("approver"))?);
        }
    }
    Ok(names)
}

/// What the external service said about exactly this, under exactly these rules: the last answer
/// counts, a yes for as long as the rules say, a no for ever.
async fn answered<C: Statements>(
    c: &mut C,
    policies: &Policies,
    withdrawal: &Withdrawal,
    holds: Duration,
) -> Result<Option<ExternalAnswer>, StoreError> {
    let since = c.dialect().at(-micros(holds.min(HOLDS_MAX)));
    let sql = format!(
        "SELECT verdict, reason, answered_at > {since} AS young FROM policy_answers \
         WHERE withdrawal_id = {{id}} AND policy_version = $2 AND facts = $3 \
         ORDER BY id DESC LIMIT 1"
    );
    let sql = of_withdrawal(c, &sql);
    let facts = facts_digest(withdrawal.id, &withdrawal.request, policies.version());
    let values = vec![withdrawal.id.to_string().into(), policies.version().into(), facts.into()];
    let rows = c.rows(DOING, &sql, values).await?;
    let Some(found) = rows.first() else { return Ok(None) };
    row::field(
        "policy_answers",
        (|| match (found.text("verdict")?.as_str(), found.flag("young")?) {
            ("ALLOW", true) => Ok(Some(ExternalAnswer::Allow)),
            ("ALLOW", false) => Ok(None),
            ("DENY", _) => Ok(Some(ExternalAnswer::Deny { reason: found.text("reason")? })),
            (other, _) => Err(format!("verdict cannot be {other:?}")),
        })(),
    )
}
