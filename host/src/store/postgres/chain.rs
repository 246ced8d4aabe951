//! Payments, and what the chain's evidence does to a withdrawal.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::ends::follow_watch;
use super::row::{signed_columns, withdrawal_columns};
use super::write::{facts, insert_events, uuids, write};
use super::{Postgres, stored};
use crate::domain::{NewEvent, Payment, PaymentWatch, SignedTransaction, WithdrawalId};
use crate::store::error::Doing;
use crate::store::plan::{Plan, broadcast_event};
use crate::store::writes::micros;
use crate::store::{
    ChainStore, Conclude, Concluded, SignClosing, SignPayment, Signing, SigningRules, StoreError,
    row,
};

const READ: &str = "read payments";

#[async_trait]
impl ChainStore for Postgres {
    async fn payment(&self, withdrawal: WithdrawalId) -> Result<Option<Payment>, StoreError> {
        self.pool
            .limited(READ, async {
                let mut connection = self.pool.acquire().await.doing(READ)?;
                let payment = payments(&mut connection, &[withdrawal]).await?.pop();
                connection.commit().await.doing(READ)?;
                Ok(payment)
            })
            .await
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
        self.pool
            .limited(READ, async {
                let (account, nonce) = match after {
                    Some((account, nonce)) => (account, stored(READ, nonce)?),
                    None => (String::new(), -1),
                };
                let mut connection = self.pool.acquire().await.doing(READ)?;
                let ids: Vec<_> = sqlx::query_scalar(
                    "SELECT n.withdrawal_id FROM withdrawals AS w \
             JOIN withdrawal_nonces AS n ON n.withdrawal_id = w.id \
             WHERE w.status IN ('REQUESTED', 'BROADCASTED') AND n.chain_id = $1 \
             AND (n.account COLLATE \"C\", n.nonce) > ($2, $3) \
             ORDER BY n.account COLLATE \"C\", n.nonce LIMIT $4",
                )
                .bind(stored(READ, chain_id)?)
                .bind(account)
                .bind(nonce)
                .bind(i64::from(limit))
                .fetch_all(&mut *connection)
                .await
                .doing(READ)?;
                let ids: Vec<_> = ids.into_iter().map(WithdrawalId::from_uuid).collect();
                let payments = payments(&mut connection, &ids).await?;
                connection.commit().await.doing(READ)?;
                Ok(payments)
            })
            .await
    }

    async fn conclude(&self, request: Conclude) -> Result<Concluded, StoreError> {
        const DOING: &str = "conclude a withdrawal";
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin().await.doing(DOING)?;
                let (now, facts) = facts(&mut tx, &[request.withdrawal]).await?;
                let mut plan = Plan::new(&self.flow, now, facts);
                let traceparent = traceparent_of(&mut tx, request.withdrawal).await?;
                let answer = plan.conclude(&request, traceparent.as_deref());
                if matches!(answer, Concluded::Now { changed: true, .. }) {
                    write(&mut tx, &plan.into_writes()).await?;
                    follow_watch(&mut tx, request.withdrawal, request.watch.as_ref()).await?;
                    tx.commit().await.doing(DOING)?;
                    self.wakeup.send();
                } else {
                    // Before the answer: a transaction that is only dropped ends a moment after it.
                    tx.rollback().await.doing(DOING)?;
                }
                Ok(answer)
            })
            .await
    }

    async fn request_broadcast(
        &self,
        withdrawal: WithdrawalId,
        not_within: Duration,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "request a broadcast";
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin().await.doing(DOING)?;
                // The withdrawal's lock is what two hosts that ask at once wait for.
                let (_, facts) = facts(&mut tx, &[withdrawal]).await?;
                let traceparent = traceparent_of(&mut tx, withdrawal).await?;
                let event = facts.first().and_then(|facts| broadcast_event(&facts.withdrawal));
                let event = event.map(|event| NewEvent { traceparent, ..event });
                let held_back = held_back(&mut tx, withdrawal, not_within).await?;
                let Some(event) = event.filter(|_| !held_back) else {
                    tx.rollback().await.doing(DOING)?;
                    return Ok(false);
                };
                insert_events(&mut tx, &[event]).await?;
                tx.commit().await.doing(DOING)?;
                self.wakeup.send();
                Ok(true)
            })
            .await
    }
}

/// The trace that the withdrawal began in: that of its first event.
pub(super) async fn traceparent_of(
    connection: &mut PgConnection,
    id: WithdrawalId,
) -> Result<Option<String>, StoreError> {
    let found: Option<Option<String>> = sqlx::query_scalar(
        "SELECT traceparent::text FROM ((SELECT traceparent, position FROM outbox_events \
         WHERE aggregate_id = $1 AND done_at IS NULL AND aggregate_type = 'WITHDRAWAL' \
         ORDER BY position LIMIT 1) UNION ALL (SELECT traceparent, position FROM outbox_events \
         WHERE aggregate_id = $1 AND done_at IS NOT NULL AND aggregate_type = 'WITHDRAWAL' \
         ORDER BY position LIMIT 1)) AS first ORDER BY position LIMIT 1",
    )
    .bind(id.to_string())
    .fetch_optional(connection)
    .await
    .doing(READ)?;
    Ok(found.flatten())
}

/// Whether a broadcast is unfinished, or was written a short while ago.
async fn held_back(
    connection: &mut PgConnection,
    id: WithdrawalId,
    not_within: Duration,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM outbox_events WHERE aggregate_id = $1 \
         AND done_at IS NULL AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' \
         AND (status <> 'FAILED' OR created_at > now() - $2 * interval '1 microsecond')) \
         OR EXISTS (SELECT 1 FROM outbox_events WHERE aggregate_id = $1 \
         AND done_at IS NOT NULL AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' \
         AND created_at > now() - $2 * interval '1 microsecond')",
    )
    .bind(id.to_string())
    .bind(micros(not_within))
    .fetch_one(connection)
    .await
    .doing("request a broadcast")
}

/// Withdrawals with all that was signed for them, in the order of `ids`. Unknown ones are left out.
pub(super) async fn payments(
    connection: &mut PgConnection,
    ids: &[WithdrawalId],
) -> Result<Vec<Payment>, StoreError> {
    let ids = uuids(ids);
    let rows = sqlx::query(concat!(
        "SELECT ",
        withdrawal_columns!(),
        ", c.reason AS closing_reason, c.asked_by, c.asked_at FROM withdrawals \
         LEFT JOIN withdrawal_closings AS c ON c.withdrawal_id = id \
         WHERE id = ANY($1) ORDER BY array_position($1, id)"
    ))
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await
    .doing(READ)?;
    let mut payments = rows.iter().map(row::payment).collect::<Result<Vec<_>, StoreError>>()?;
    let signed = sqlx::query(concat!(
        "SELECT ",
        signed_columns!(),
        " FROM signed_transactions WHERE withdrawal_id = ANY($1) ORDER BY id"
    ))
    .bind(&ids)
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
