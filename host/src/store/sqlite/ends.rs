//! Ends of payments: given up, closed, and watched after what the chain said.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;

use super::chain::{payments, traceparent_of};
use super::sign::{Signer, Under, check_frozen, signed_by, situation, store};
use super::write::{facts, json, micros_of, write};
use super::writer::Outcome;
use super::{Sqlite, now, stored};
use crate::domain::{Flow, PaymentWatch, Timestamp, WithdrawalId};
use crate::store::error::Doing;
use crate::store::plan::Plan;
use crate::store::sign::{self, DOING};
use crate::store::writes::storable;
use crate::store::{CancelledWithdrawal, SignClosing, Signing, SigningRules, StoreError, row};

const WATCHES: &str = "watch a payment";
const CANCEL: &str = "cancel a withdrawal";

impl Sqlite {
    pub(super) async fn cancel_open(
        &self,
        withdrawal: WithdrawalId,
        reason: &str,
        by: &str,
    ) -> Result<CancelledWithdrawal, StoreError> {
        let flow = Arc::clone(&self.flow);
        let (reason, by) = (reason.to_owned(), by.to_owned());
        let answer = self
            .writer
            .write(CANCEL, move |c| {
                Box::pin(async move {
                    cancel(c, withdrawal, &reason, &by, &flow).await.map(Outcome::Keep)
                })
            })
            .await?;
        self.wakeup.send();
        Ok(answer)
    }

    pub(super) async fn close_payment(
        &self,
        request: SignClosing,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        signed_by(rules, |signer| {
            self.writer.write(DOING, move |c| Box::pin(closing(c, request, signer)))
        })
        .await
    }

    pub(super) async fn watches_behind(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u32,
    ) -> Result<Vec<PaymentWatch>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM payment_watches WHERE chain_id = ?1 AND withdrawal_id > ?2 \
             ORDER BY withdrawal_id LIMIT ?3",
        )
        .bind(stored(WATCHES, chain_id)?)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.reads)
        .await
        .doing(WATCHES)?;
        rows.iter().map(row::payment_watch).collect()
    }

    pub(super) async fn put_watch(&self, watch: &PaymentWatch) -> Result<(), StoreError> {
        let watch = watch.clone();
        self.writer
            .write(WATCHES, move |c| {
                Box::pin(async move { upsert_watch(c, &watch, now()).await.map(Outcome::Keep) })
            })
            .await
    }

    pub(super) async fn delete_watches(
        &self,
        withdrawals: &[WithdrawalId],
    ) -> Result<(), StoreError> {
        let ids = json(&withdrawals.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        self.writer
            .write(WATCHES, move |c| {
                Box::pin(async move {
                    sqlx::query(
                        "DELETE FROM payment_watches \
                         WHERE withdrawal_id IN (SELECT value FROM json_each(?))",
                    )
                    .bind(ids)
                    .execute(c)
                    .await
                    .doing(WATCHES)?;
                    Ok(Outcome::Keep(()))
                })
            })
            .await
    }
}

/// What follows from a conclusion for the watch: a new one, or that there is none any more.
pub(super) async fn follow_watch(
    connection: &mut SqliteConnection,
    withdrawal: WithdrawalId,
    watch: Option<&PaymentWatch>,
    at: Timestamp,
) -> Result<(), StoreError> {
    if let Some(watch) = watch {
        return upsert_watch(connection, watch, at).await;
    }
    sqlx::query("DELETE FROM payment_watches WHERE withdrawal_id = ?")
        .bind(withdrawal.to_string())
        .execute(connection)
        .await
        .doing(WATCHES)?;
    Ok(())
}

async fn upsert_watch(
    connection: &mut SqliteConnection,
    watch: &PaymentWatch,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO payment_watches (withdrawal_id, chain_id, tx_hash, block_number, block_hash, \
         until_block, since) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (withdrawal_id) \
         DO UPDATE SET tx_hash = excluded.tx_hash, block_number = excluded.block_number, \
         block_hash = excluded.block_hash, until_block = excluded.until_block",
    )
    .bind(watch.withdrawal.to_string())
    .bind(stored(WATCHES, watch.chain_id)?)
    .bind(storable(&watch.tx_hash))
    .bind(stored(WATCHES, watch.block_number)?)
    .bind(storable(&watch.block_hash))
    .bind(stored(WATCHES, watch.until_block)?)
    .bind(micros_of(at))
    .execute(connection)
    .await
    .doing(WATCHES)?;
    Ok(())
}

async fn cancel(
    connection: &mut SqliteConnection,
    withdrawal: WithdrawalId,
    reason: &str,
    by: &str,
    flow: &Flow,
) -> Result<CancelledWithdrawal, StoreError> {
    let at = now();
    let mut plan = Plan::new(flow, at, facts(connection, &[withdrawal]).await?);
    let traceparent = traceparent_of(connection, withdrawal).await?;
    let answer = plan.cancel(withdrawal, reason, by, traceparent.as_deref());
    write(connection, &plan.into_writes(), at).await?;
    if answer == CancelledWithdrawal::Failed {
        cancel_broadcasts(connection, withdrawal, &format!("{by}: {reason}"), at).await?;
    }
    Ok(answer)
}

/// The broadcasts of a withdrawal that nobody works on. One that is in hand is refused when it asks
/// for a signature.
pub(super) async fn cancel_broadcasts(
    connection: &mut SqliteConnection,
    withdrawal: WithdrawalId,
    reason: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (reason, at) = (storable(reason), micros_of(at));
    let cancelled: Vec<String> = sqlx::query_scalar(
        "UPDATE outbox_events SET status = 'FAILED', next_retry_at = NULL, \
         failure_code = 'cancelled', last_error = ?2, skipped_at = ?3, updated_at = ?3 \
         WHERE aggregate_id = ?1 AND status IN ('PENDING', 'RETRYING') \
         AND status <> 'DONE' AND aggregate_type = 'WITHDRAWAL' \
         AND event_type = 'BLOCKCHAIN_BROADCAST_REQUESTED' RETURNING id",
    )
    .bind(withdrawal.to_string())
    .bind(&reason)
    .bind(at)
    .fetch_all(&mut *connection)
    .await
    .doing(CANCEL)?;
    for event in cancelled {
        sqlx::query(
            "INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
             VALUES (?1, 'cancelled', 0, ?2, ?3, ?3)",
        )
        .bind(event)
        .bind(&reason)
        .bind(at)
        .execute(&mut *connection)
        .await
        .doing(CANCEL)?;
    }
    Ok(())
}

async fn closing(
    connection: &mut SqliteConnection,
    request: SignClosing,
    signer: Signer,
) -> Result<Outcome<Signing>, StoreError> {
    let at = now();
    let payment = payments(connection, &[request.withdrawal]).await?.pop();
    let (payment, bound) = match sign::check_closing(&request, payment, at - request.not_within) {
        Ok(found) => found,
        Err(answer) => return Ok(Outcome::Undo(*answer)),
    };
    if let Err(refusal) = check_frozen(connection, request.chain_id, &bound.account).await? {
        return Ok(Outcome::Undo(Signing::Refused(refusal)));
    }
    let under = Under { withdrawal: request.withdrawal, chain_id: request.chain_id };
    let situation = situation(connection, under, payment, &bound, at).await?;
    match signer.sign(situation).await? {
        Err(refusal) => Ok(Outcome::Undo(Signing::Refused(refusal))),
        Ok(signed) => {
            let stored = store(connection, under, bound, signed, at).await?;
            Ok(Outcome::Keep(Signing::Signed(stored)))
        }
    }
}
