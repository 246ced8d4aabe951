//! What withdrawals wait for, and how they are woken.

use super::{Outcome, Statements, of_withdrawal};
use crate::domain::WithdrawalId;
use crate::store::checks::Dialect;
use crate::store::row::{Columns, named};
use crate::store::{StoreError, WithdrawalWait};

pub(super) const DOING: &str = "note what withdrawals wait for";

/// Withdrawals that are asked for at once, in one statement. A page has no more.
const IDS_A_STATEMENT: usize = 200;

/// Locks the withdrawal, so that no wait is noted for one that ends meanwhile.
pub(super) async fn note<C: Statements>(
    c: &mut C,
    id: WithdrawalId,
    rule: String,
    reason: String,
) -> Result<Outcome<()>, StoreError> {
    let lock = match c.dialect() {
        Dialect::Postgres => " FOR UPDATE",
        Dialect::Sqlite { .. } => "",
    };
    let open = "SELECT 1 AS one FROM withdrawals WHERE id = {id} \
                AND status IN ('REQUESTED', 'BROADCASTED')";
    let open = format!("{}{lock}", of_withdrawal(c, open));
    if c.rows(DOING, &open, vec![id.to_string().into()]).await?.is_empty() {
        return Ok(Outcome::Undo(()));
    }
    // What is noted already is not written again: a wait is asked about each time it is tried.
    let sql = of_withdrawal(
        c,
        "INSERT INTO withdrawal_waits (withdrawal_id, rule, reason, since) \
         VALUES ({id}, $2, $3, {now}) ON CONFLICT (withdrawal_id) DO UPDATE SET \
         since = CASE WHEN withdrawal_waits.rule = excluded.rule THEN withdrawal_waits.since \
         ELSE excluded.since END, rule = excluded.rule, reason = excluded.reason \
         WHERE withdrawal_waits.rule <> excluded.rule OR withdrawal_waits.reason <> excluded.reason",
    );
    let values = vec![id.to_string().into(), rule.into(), reason.into()];
    Ok(match c.execute(DOING, &sql, values).await? {
        0 => Outcome::Undo(()),
        _ => Outcome::Keep(()),
    })
}

/// It waits no more.
pub(in crate::store) async fn clear<C: Statements>(
    c: &mut C,
    id: WithdrawalId,
) -> Result<(), StoreError> {
    let sql = of_withdrawal(c, "DELETE FROM withdrawal_waits WHERE withdrawal_id = {id}");
    c.execute(DOING, &sql, vec![id.to_string().into()]).await.map(drop)
}

pub(super) async fn of<C: Statements>(
    c: &mut C,
    ids: &[WithdrawalId],
) -> Result<Vec<WithdrawalWait>, StoreError> {
    let mut waits = Vec::new();
    for ids in ids.chunks(IDS_A_STATEMENT) {
        let given = (1..=ids.len()).map(|n| match c.dialect() {
            Dialect::Postgres => format!("CAST(${n} AS uuid)"),
            Dialect::Sqlite { .. } => format!("${n}"),
        });
        let given = given.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT q.withdrawal_id, q.rule, q.reason, q.since FROM withdrawal_waits AS q \
             JOIN withdrawals AS w ON w.id = q.withdrawal_id \
             WHERE w.status IN ('REQUESTED', 'BROADCASTED') AND q.withdrawal_id IN ({given})"
        );
        let values = ids.iter().map(|id| id.to_string().into()).collect();
        for row in &c.rows(DOING, &sql, values).await? {
            waits.push(decode(row)?);
        }
    }
    Ok(waits)
}

pub(super) fn decode<R: Columns>(row: &R) -> Result<WithdrawalWait, StoreError> {
    named("withdrawal_waits", "withdrawal_id", row, |row| {
        Ok(WithdrawalWait {
            withdrawal: WithdrawalId::from_uuid(row.uuid("withdrawal_id")?),
            rule: row.text("rule")?,
            reason: row.text("reason")?,
            since: row.time("since")?,
        })
    })
}

/// How many withdrawals wait, by rule.
pub(in crate::store) async fn by_rule<C: Statements>(
    c: &mut C,
) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT q.rule, count(*) AS waiting FROM withdrawal_waits AS q \
               JOIN withdrawals AS w ON w.id = q.withdrawal_id \
               WHERE w.status IN ('REQUESTED', 'BROADCASTED') GROUP BY q.rule ORDER BY q.rule";
    let rows = c.rows(DOING, sql, Vec::new()).await?;
    rows.iter().map(counted).collect()
}

fn counted<R: Columns>(row: &R) -> Result<(String, u64), StoreError> {
    named("withdrawal_waits", "rule", row, |row| Ok((row.text("rule")?, row.count("waiting")?)))
}

/// Has the broadcast of a withdrawal tried again at once, if it was put off. The retry job finds it.
pub(super) async fn wake<C: Statements>(
    c: &mut C,
    doing: &'static str,
    id: WithdrawalId,
) -> Result<(), StoreError> {
    // Said as the index of unfinished events has it. A locked one is passed over: whoever gives an
    // event up takes its lock first and the withdrawal's then, and it is only woken here.
    let (open, free) = match c.dialect() {
        Dialect::Postgres => ("done_at IS NULL AND ", " FOR UPDATE SKIP LOCKED"),
        Dialect::Sqlite { .. } => ("", ""),
    };
    let sql = format!(
        "UPDATE outbox_events SET next_retry_at = {{now}}, updated_at = {{now}} WHERE id IN \
         (SELECT id FROM outbox_events WHERE {open}aggregate_id = $1 \
         AND aggregate_type = 'WITHDRAWAL' AND status = 'RETRYING' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' AND next_retry_at > {{now}}{free})"
    );
    c.execute(doing, &sql, vec![id.to_string().into()]).await.map(drop)
}

/// As [`wake`], for all that wait for a rule.
pub(super) async fn wake_all<C: Statements>(
    c: &mut C,
    doing: &'static str,
    rule: &str,
) -> Result<(), StoreError> {
    let sql = "SELECT withdrawal_id, rule, reason, since FROM withdrawal_waits WHERE rule = $1";
    for row in &c.rows(doing, sql, vec![rule.into()]).await? {
        wake(c, doing, decode(row)?.withdrawal).await?;
    }
    Ok(())
}
