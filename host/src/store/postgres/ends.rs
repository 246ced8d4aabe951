//! Ends of payments: given up, closed, and watched after what the chain said.

use sqlx::postgres::PgConnection;

use super::chain::{payments, traceparent_of};
use super::sign::{Under, check_frozen, situation, store};
use super::write::{facts, uuids, write};
use super::{Postgres, stored};
use crate::domain::{PaymentWatch, WithdrawalId};
use crate::store::error::Doing;
use crate::store::plan::Plan;
use crate::store::sign::{self, DOING};
use crate::store::writes::{micros, storable};
use crate::store::{CancelledWithdrawal, SignClosing, Signing, SigningRules, StoreError, row};

const WATCHES: &str = "watch a payment";

impl Postgres {
    pub(super) async fn cancel_open(
        &self,
        withdrawal: WithdrawalId,
        reason: &str,
        by: &str,
    ) -> Result<CancelledWithdrawal, StoreError> {
        const DOING: &str = "cancel a withdrawal";
        self.pool
            .limited(DOING, async {
                let mut tx = self.pool.begin().await.doing(DOING)?;
                let (now, facts) = facts(&mut tx, &[withdrawal]).await?;
                let mut plan = Plan::new(&self.flow, now, facts);
                let traceparent = traceparent_of(&mut tx, withdrawal).await?;
                let answer = plan.cancel(withdrawal, reason, by, traceparent.as_deref());
                write(&mut tx, &plan.into_writes()).await?;
                if answer == CancelledWithdrawal::Failed {
                    cancel_broadcasts(&mut tx, withdrawal, &format!("{by}: {reason}")).await?;
                }
                tx.commit().await.doing(DOING)?;
                self.wakeup.send();
                Ok(answer)
            })
            .await
    }

    pub(super) async fn close_payment(
        &self,
        request: SignClosing,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        let mut tx = self.pool.begin().await.doing(DOING)?;
        let signing = closing(&mut tx, &request, rules).await?;
        match signing {
            Signing::Signed(_) => tx.commit().await.doing(DOING)?,
            Signing::Stored(_) | Signing::Refused(_) | Signing::LeaseLost | Signing::NotLive(_) => {
                tx.rollback().await.doing(DOING)?;
            }
        }
        Ok(signing)
    }

    pub(super) async fn watches_behind(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u32,
    ) -> Result<Vec<PaymentWatch>, StoreError> {
        let rows = sqlx::query(
            "SELECT withdrawal_id, chain_id, tx_hash, block_number, block_hash, until_block \
             FROM payment_watches WHERE chain_id = $1 AND ($2::uuid IS NULL OR withdrawal_id > $2) \
             ORDER BY withdrawal_id LIMIT $3",
        )
        .bind(stored(WATCHES, chain_id)?)
        .bind(after.map(|id| id.as_uuid()))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .doing(WATCHES)?;
        rows.iter().map(row::payment_watch).collect()
    }

    pub(super) async fn put_watch(&self, watch: &PaymentWatch) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.doing(WATCHES)?;
        upsert_watch(&mut connection, watch).await?;
        connection.commit().await.doing(WATCHES)
    }

    pub(super) async fn delete_watches(
        &self,
        withdrawals: &[WithdrawalId],
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM payment_watches WHERE withdrawal_id = ANY($1)")
            .bind(uuids(withdrawals))
            .execute(&self.pool)
            .await
            .doing(WATCHES)?;
        Ok(())
    }
}

/// What follows from a conclusion for the watch: a new one, or that there is none any more.
pub(super) async fn follow_watch(
    connection: &mut PgConnection,
    withdrawal: WithdrawalId,
    watch: Option<&PaymentWatch>,
) -> Result<(), StoreError> {
    if let Some(watch) = watch {
        return upsert_watch(connection, watch).await;
    }
    sqlx::query("DELETE FROM payment_watches WHERE withdrawal_id = $1")
        .bind(withdrawal.as_uuid())
        .execute(connection)
        .await
        .doing(WATCHES)?;
    Ok(())
}

async fn upsert_watch(
    connection: &mut PgConnection,
    watch: &PaymentWatch,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO payment_watches (withdrawal_id, chain_id, tx_hash, block_number, block_hash, \
         until_block, since) VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT (withdrawal_id) \
         DO UPDATE SET tx_hash = excluded.tx_hash, block_number = excluded.block_number, \
         block_hash = excluded.block_hash, until_block = excluded.until_block",
    )
    .bind(watch.withdrawal.as_uuid())
    .bind(stored(WATCHES, watch.chain_id)?)
    .bind(storable(&watch.tx_hash))
    .bind(stored(WATCHES, watch.block_number)?)
    .bind(storable(&watch.block_hash))
    .bind(stored(WATCHES, watch.until_block)?)
    .execute(connection)
    .await
    .doing(WATCHES)?;
    Ok(())
}

/// The broadcasts of a withdrawal that nobody works on. One that a host holds is refused when it asks
/// for a signature. Locked ones are passed over: who signs takes the two locks the other way round.
pub(super) async fn cancel_broadcasts(
    connection: &mut PgConnection,
    withdrawal: WithdrawalId,
    reason: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "WITH cancelled AS (UPDATE outbox_events SET status = 'FAILED', next_retry_at = NULL, \
         failure_code = 'cancelled', last_error = $2, skipped_at = now(), updated_at = now() \
         WHERE id IN (SELECT id FROM outbox_events WHERE aggregate_id = $1 AND done_at IS NULL \
         AND status IN ('PENDING', 'RETRYING') AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' FOR UPDATE SKIP LOCKED) RETURNING id) \
         INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
         SELECT id, 'cancelled', 0, $2, now(), now() FROM cancelled",
    )
    .bind(withdrawal.to_string())
    .bind(storable(reason))
    .execute(connection)
    .await
    .doing("cancel a withdrawal")?;
    Ok(())
}

/// Signs and stores, or says why not. Only after `Signed` there is something to commit.
async fn closing(
    connection: &mut PgConnection,
    request: &SignClosing,
    rules: &dyn SigningRules,
) -> Result<Signing, StoreError> {
    sqlx::query("SELECT 1 FROM withdrawals WHERE id = $1 FOR UPDATE")
        .bind(request.withdrawal.as_uuid())
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    let payment = payments(connection, &[request.withdrawal]).await?.pop();
    let since: crate::domain::Timestamp =
        sqlx::query_scalar("SELECT now() - $1 * interval '1 microsecond'")
            .bind(micros(request.not_within))
            .fetch_one(&mut *connection)
            .await
            .doing(DOING)?;
    let (payment, bound) = match sign::check_closing(request, payment, since) {
        Ok(found) => found,
        Err(answer) => return Ok(*answer),
    };
    if let Err(refusal) = check_frozen(connection, request.chain_id, &bound.account).await? {
        return Ok(Signing::Refused(refusal));
    }
    let under = Under { withdrawal: request.withdrawal, chain_id: request.chain_id };
    let situation = situation(connection, under, payment, &bound).await?;
    match rules.sign(&situation).await {
        Err(refusal) => Ok(Signing::Refused(refusal)),
        Ok(signed) => Ok(Signing::Signed(store(connection, under, bound, signed).await?)),
    }
}
