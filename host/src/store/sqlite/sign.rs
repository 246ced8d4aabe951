//! Signing a payment, inside one job of the writer.
//!
//! The rules are the caller's and stay with the caller: the job hands out the situation, waits for
//! what was signed, and stores it before it ends. If the caller goes away, the job is undone.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::chain::payments;
use super::write::micros_of;
use super::writer::Outcome;
use super::{Sqlite, now, stored};
use crate::domain::{
    NewSignedTransaction, Payment, Policies, SignedTransaction, SigningRefusal, SigningSituation,
    Timestamp,
};
use crate::store::error::Doing;
use crate::store::policies::{Judged, judge, keep_ruling};
pub(super) use crate::store::sign::Under;
use crate::store::sign::{self, Bound, DAY_MICROS, DOING};
use crate::store::{SignPayment, Signing, SigningRules, StoreError, row};

/// A signature takes a millisecond. Whoever needs longer holds up every other writer.
const SIGNER_PATIENCE: Duration = Duration::from_secs(10);

type Signed = Result<NewSignedTransaction, SigningRefusal>;

/// The job's side of the talk with the caller.
pub(super) struct Signer {
    situation: oneshot::Sender<SigningSituation>,
    signed: oneshot::Receiver<Signed>,
}

impl Sqlite {
    pub(super) async fn sign(
        &self,
        request: SignPayment,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        let policies = Arc::clone(&self.policies);
        signed_by(rules, |signer| {
            self.writer.write(DOING, move |c| {
                Box::pin(async move { sign(c, request, signer, &policies).await })
            })
        })
        .await
    }
}

/// Runs a job that asks the rules.
pub(super) async fn signed_by<J>(
    rules: &dyn SigningRules,
    start: impl FnOnce(Signer) -> J,
) -> Result<Signing, StoreError>
where
    J: Future<Output = Result<Signing, StoreError>>,
{
    let (situation, asked) = oneshot::channel();
    let (answer, signed) = oneshot::channel();
    let job = start(Signer { situation, signed });
    tokio::pin!(job);
    tokio::select! {
        // Without a question to the rules, if nothing has to be signed.
        done = &mut job => done,
        Ok(situation) = asked => {
            // If nobody waits for it any more, the job has been undone.
            let _unread = answer.send(rules.sign(&situation).await);
            job.await
        }
    }
}

impl Signer {
    /// Asks the rules, which are the caller's.
    pub(super) async fn sign(self, situation: SigningSituation) -> Result<Signed, StoreError> {
        let gone = || StoreError::unavailable(DOING, "the signer went away");
        self.situation.send(situation).map_err(|_| gone())?;
        tokio::time::timeout(SIGNER_PATIENCE, self.signed)
            .await
            .map_err(|_| StoreError::unavailable(DOING, "the signer took too long"))?
            .map_err(|_| gone())
    }
}

async fn sign(
    connection: &mut SqliteConnection,
    request: SignPayment,
    signer: Signer,
    policies: &Policies,
) -> Result<Outcome<Signing>, StoreError> {
    let at = now();
    let event = sqlx::query(
        "SELECT * FROM outbox_events WHERE id = ? AND lease_token = ? AND status = 'PROCESSING'",
    )
    .bind(request.lease.event.to_string())
    .bind(request.lease.token.0)
    .fetch_optional(&mut *connection)
    .await
    .doing(DOING)?;
    let Some(event) = event else { return Ok(Outcome::Undo(Signing::LeaseLost)) };
    let event = row::event(&event)?;
    let payment = payments(connection, &[request.withdrawal]).await?.pop();
    let payment = match sign::check(&request, &event, payment) {
        Ok(payment) => payment,
        Err(answer) => return Ok(Outcome::Undo(*answer)),
    };
    let ruling = match judge(connection, policies, &payment, &request.account).await? {
        Judged::Passed(ruling) => ruling,
        Judged::Stopped(no) => return Ok(Outcome::Keep(Signing::Refused(no))),
    };
    let bound = match bind(connection, &request, &payment, at).await? {
        Ok(bound) => bound,
        Err(refusal) => return Ok(Outcome::Undo(Signing::Refused(refusal))),
    };
    let under = Under::from(&request);
    let situation = situation(connection, under, payment, &bound, at).await?;
    match signer.sign(situation).await? {
        // What was bound is undone: no nonce is used up.
        Err(refusal) => Ok(Outcome::Undo(Signing::Refused(refusal))),
        Ok(signed) => {
            let stored = store(connection, under, bound, signed, at).await?;
            keep_ruling(connection, policies, &stored, ruling).await?;
            Ok(Outcome::Keep(Signing::Signed(stored)))
        }
    }
}

/// The nonce of this withdrawal: the one it has, or the account's next.
async fn bind(
    connection: &mut SqliteConnection,
    request: &SignPayment,
    payment: &Payment,
    at: Timestamp,
) -> Result<Result<Bound, SigningRefusal>, StoreError> {
    let chain_id = stored(DOING, request.chain_id)?;
    let before = sign::bound_before(payment);
    let account = before.as_ref().map_or(&request.account, |bound| &bound.account);
    if let Err(refusal) = check_frozen(connection, request.chain_id, account).await? {
        return Ok(Err(refusal));
    }
    if let Some(bound) = before {
        return Ok(Ok(bound));
    }
    let nonce: i64 = sqlx::query_scalar(
        "UPDATE chain_accounts SET next_nonce = next_nonce + 1 \
         WHERE chain_id = ? AND address = ? AND frozen_reason IS NULL RETURNING next_nonce - 1",
    )
    .bind(chain_id)
    .bind(account)
    .fetch_one(&mut *connection)
    .await
    .doing(DOING)?;
    sqlx::query(
        "INSERT INTO withdrawal_nonces (withdrawal_id, chain_id, account, nonce, created_at) \
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(request.withdrawal.to_string())
    .bind(chain_id)
    .bind(account)
    .bind(nonce)
    .bind(micros_of(at))
    .execute(connection)
    .await
    .doing(DOING)?;
    let nonce = u64::try_from(nonce).map_err(|e| StoreError::conflict(DOING, e.to_string()))?;
    Ok(Ok(Bound { account: account.clone(), nonce }))
}

/// Whether the account may sign.
pub(super) async fn check_frozen(
    connection: &mut SqliteConnection,
    chain_id: u64,
    account: &str,
) -> Result<Result<(), SigningRefusal>, StoreError> {
    let found = sqlx::query("SELECT * FROM chain_accounts WHERE chain_id = ? AND address = ?")
        .bind(stored(DOING, chain_id)?)
        .bind(account)
        .fetch_optional(connection)
        .await
        .doing(DOING)?
        .map(|found| row::account(&found))
        .transpose()?;
    Ok(sign::check_account(account, found.as_ref()))
}

pub(super) async fn situation(
    connection: &mut SqliteConnection,
    under: Under,
    payment: Payment,
    bound: &Bound,
    at: Timestamp,
) -> Result<SigningSituation, StoreError> {
    let chain_id = stored(DOING, under.chain_id)?;
    let asked = &payment.withdrawal.request;
    let open = sqlx::query(
        "SELECT s.withdrawal_id, s.native_cost_max, s.asset_units, \
         w.asset = ?4 AND w.network = ?5 AS same_asset FROM withdrawals AS w \
         JOIN signed_transactions AS s ON s.withdrawal_id = w.id \
         WHERE w.status IN ('REQUESTED', 'BROADCASTED') AND w.id <> ?1 \
         AND s.chain_id = ?2 AND s.account = ?3",
    )
    .bind(under.withdrawal.to_string())
    .bind(chain_id)
    .bind(&bound.account)
    .bind(&asked.asset)
    .bind(asked.network.as_str())
    .fetch_all(&mut *connection)
    .await
    .doing(DOING)?;
    let of_the_day = sqlx::query(
        "SELECT withdrawal_id, gas_limit, fee_max_per_gas FROM signed_transactions \
         WHERE chain_id = ? AND account = ? AND signed_at > ?",
    )
    .bind(chain_id)
    .bind(&bound.account)
    .bind(micros_of(at) - DAY_MICROS)
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    sign::situation(payment, bound.nonce, &open, &of_the_day)
}

pub(super) async fn store(
    connection: &mut SqliteConnection,
    under: Under,
    bound: Bound,
    signed: NewSignedTransaction,
    at: Timestamp,
) -> Result<SignedTransaction, StoreError> {
    let kept = sign::kept(under, bound, signed, at);
    let new = &kept.signed;
    sqlx::query(
        "INSERT INTO signed_transactions (withdrawal_id, chain_id, account, nonce, hash, kind, \
         raw, gas_limit, fee_max_per_gas, priority_fee_max_per_gas, native_cost_max, \
         asset_units, signed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(kept.withdrawal.to_string())
    .bind(stored(DOING, kept.chain_id)?)
    .bind(&kept.account)
    .bind(stored(DOING, kept.nonce)?)
    .bind(&new.hash)
    .bind(new.kind.as_str())
    .bind(&new.raw)
    .bind(stored(DOING, new.gas_limit)?)
    .bind(new.fee_max_per_gas.to_string())
    .bind(new.priority_fee_max_per_gas.to_string())
    .bind(new.native_cost_max.to_string())
    .bind(new.asset_units.to_string())
    .bind(micros_of(at))
    .execute(connection)
    .await
    .doing(DOING)?;
    Ok(kept)
}
