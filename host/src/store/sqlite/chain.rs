//! Payments, and what the chain's evidence does to a withdrawal.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::ends::follow_watch;
use super::write::{facts, insert_events, json, micros_of, write};
use super::writer::Outcome;
use super::{Sqlite, now, stored};
use crate::domain::{Flow, NewEvent, Payment, PaymentWatch, SignedTransaction, WithdrawalId};
use crate::store::error::Doing;
use crate::store::plan::{Plan, broadcast_event};
use crate::store::row::Columns;
use crate::store::writes::micros;
use crate::store::{
    ChainStore, Conclude, Concluded, SignClosing, SignPayment, Signing, SigningRules, StoreError,
    row,
};

const READ: &str = "read payments";

#[async_trait]
impl ChainStore for Sqlite {
    async fn payment(&self, withdrawal: WithdrawalId) -> Result<Option<Payment>, StoreError> {
        let mut tx = self.reads.begin().await.doing(READ)?;
        Ok(payments(&mut tx, &[withdrawal]).await?.pop())
    }

    async fn sign_payment(
        &self,
        request: SignPayment,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        self.sign(request, rules).await
    }

    async fn sign_closing(
        &self,
        request: SignClosing,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        self.close_payment(request, rules).await
    }

    async fn watches(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u32,
    ) -> Result<Vec<PaymentWatch>, StoreError> {
        self.watches_behind(chain_id, after, limit).await
    }

    async fn move_watch(&self, watch: &PaymentWatch) -> Result<(), StoreError> {
        self.put_watch(watch).await
    }

    async fn end_watches(&self, withdrawals: &[WithdrawalId]) -> Result<(), StoreError> {
        self.delete_watches(withdrawals).await
    }

    async fn open_payments(
        &self,
        chain_id: u64,
        after: Option<(String, u64)>,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError> {
        let (account, nonce) = match after {
            Some((account, nonce)) => (account, stored(READ, nonce)?),
            None => (String::new(), -1),
        };
        let mut tx = self.reads.begin().await.doing(READ)?;
        let rows = sqlx::query(
            "SELECT n.withdrawal_id FROM withdrawals AS w \
             JOIN withdrawal_nonces AS n ON n.withdrawal_id = w.id \
             WHERE w.status IN ('REQUESTED', 'BROADCASTED') AND n.chain_id = ?1 \
             AND (n.account, n.nonce) > (?2, ?3) ORDER BY n.account, n.nonce LIMIT ?4",
        )
        .bind(stored(READ, chain_id)?)
        .bind(account)
        .bind(nonce)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await
        .doing(READ)?;
        let ids = rows
            .iter()
            .map(|r| row::field("withdrawal_nonces", r.uuid("withdrawal_id")))
            .map(|id| id.map(WithdrawalId::from_uuid))
            .collect::<Result<Vec<_>, _>>()?;
        payments(&mut tx, &ids).await
    }

    async fn conclude(&self, request: Conclude) -> Result<Concluded, StoreError> {
        let flow = Arc::clone(&self.flow);
        let concluded = self
            .writer
            .write("conclude a withdrawal", move |c| {
                Box::pin(async move {
                    let answer = conclude(c, &request, &flow).await?;
                    let changed = matches!(answer, Concluded::Now { changed: true, .. });
                    Ok(if changed { Outcome::Keep(answer) } else { Outcome::Undo(answer) })
                })
            })
            .await?;
        if matches!(concluded, Concluded::Now { changed: true, .. }) {
            self.wakeup.send();
        }
        Ok(concluded)
    }

    async fn request_broadcast(
        &self,
        withdrawal: WithdrawalId,
        not_within: Duration,
    ) -> Result<bool, StoreError> {
        let wrote = self
            .writer
            .write("request a broadcast", move |c| {
                Box::pin(async move {
                    let wrote = request_broadcast(c, withdrawal, not_within).await?;
                    Ok(if wrote { Outcome::Keep(true) } else { Outcome::Undo(false) })
                })
            })
            .await?;
        if wrote {
            self.wakeup.send();
        }
        Ok(wrote)
    }
}

/// Withdrawals with all that was signed for them, in the order of `ids`. Unknown ones are left out.
pub(super) async fn payments(
    connection: &mut SqliteConnection,
    ids: &[WithdrawalId],
) -> Result<Vec<Payment>, StoreError> {
    let texts = json(&ids.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let rows = sqlx::query(
        "SELECT w.*, c.reason AS closing_reason, c.asked_by, c.asked_at \
         FROM json_each(?) AS asked CROSS JOIN withdrawals AS w ON w.id = asked.value \
         LEFT JOIN withdrawal_closings AS c ON c.withdrawal_id = w.id ORDER BY asked.key",
    )
    .bind(&texts)
    .fetch_all(&mut *connection)
    .await
    .doing(READ)?;
    let mut payments = rows.iter().map(row::payment).collect::<Result<Vec<_>, StoreError>>()?;
    let signed = sqlx::query(
        "SELECT * FROM signed_transactions \
         WHERE withdrawal_id IN (SELECT value FROM json_each(?)) ORDER BY id",
    )
    .bind(&texts)
    .fetch_all(connection)
    .await
    .doing(READ)?;
    let signed = signed.iter().map(row::signed_transaction);
    for transaction in signed.collect::<Result<Vec<SignedTransaction>, _>>()? {
        let owner = payments.iter_mut().find(|p| p.withdrawal.id == transaction.withdrawal);
        if let Some(payment) = owner {
            payment.transactions.push(transaction);
        }
    }
    Ok(payments)
}

async fn conclude(
    connection: &mut SqliteConnection,
    request: &Conclude,
    flow: &Flow,
) -> Result<Concluded, StoreError> {
    let at = now();
    let mut plan = Plan::new(flow, at, facts(connection, &[request.withdrawal]).await?);
    let traceparent = traceparent_of(connection, request.withdrawal).await?;
    let answer = plan.conclude(request, traceparent.as_deref());
    if matches!(answer, Concluded::Now { changed: true, .. }) {
        write(connection, &plan.into_writes(), at).await?;
        follow_watch(connection, request.withdrawal, request.watch.as_ref(), at).await?;
    }
    Ok(answer)
}

/// The trace that the withdrawal began in: that of its first event.
pub(super) async fn traceparent_of(
    connection: &mut SqliteConnection,
    id: WithdrawalId,
) -> Result<Option<String>, StoreError> {
    let found: Option<Option<String>> = sqlx::query_scalar(
        "SELECT traceparent FROM (SELECT * FROM (SELECT traceparent, position FROM outbox_events \
         WHERE aggregate_id = ?1 AND status <> 'DONE' AND aggregate_type = 'WITHDRAWAL' \
         ORDER BY position LIMIT 1) UNION ALL SELECT * FROM (SELECT traceparent, position \
         FROM outbox_events WHERE aggregate_id = ?1 AND status = 'DONE' \
         AND aggregate_type = 'WITHDRAWAL' ORDER BY position LIMIT 1)) ORDER BY position LIMIT 1",
    )
    .bind(id.to_string())
    .fetch_optional(connection)
    .await
    .doing(READ)?;
    Ok(found.flatten())
}

async fn request_broadcast(
    connection: &mut SqliteConnection,
    id: WithdrawalId,
    not_within: Duration,
) -> Result<bool, StoreError> {
    const DOING: &str = "request a broadcast";
    let found = facts(connection, &[id]).await?;
    let Some(withdrawal) = found.first().map(|facts| &facts.withdrawal) else { return Ok(false) };
    let since = micros_of(now()).saturating_sub(micros(not_within));
    let held_back: bool = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM outbox_events WHERE aggregate_id = ?1 \
         AND status <> 'DONE' AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' \
         AND (status <> 'FAILED' OR created_at > ?2)) \
         OR EXISTS (SELECT 1 FROM outbox_events WHERE aggregate_id = ?1 \
         AND status = 'DONE' AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' AND created_at > ?2)",
    )
    .bind(id.to_string())
    .bind(since)
    .fetch_one(&mut *connection)
    .await
    .and_then(|r| r.try_get(0))
    .doing(DOING)?;
    let traceparent = traceparent_of(connection, id).await?;
    let Some(event) = broadcast_event(withdrawal).filter(|_| !held_back) else {
        return Ok(false);
    };
    insert_events(connection, &[&NewEvent { traceparent, ..event }]).await?;
    Ok(true)
}
