//! Signing a payment, in one transaction. If the caller goes away, it is undone.

use sqlx::postgres::PgConnection;

use super::chain::payments;
use super::row::event_columns;
use super::{Postgres, stored};
use crate::domain::{
    NewSignedTransaction, Payment, Policies, SignedTransaction, SigningRefusal, SigningSituation,
};
use crate::store::error::Doing;
use crate::store::policies::{Judged, judge, keep_ruling};
use crate::store::releases::Outcome;
pub(super) use crate::store::sign::Under;
use crate::store::sign::{self, Bound, DAY_MICROS, DOING};
use crate::store::{SignPayment, Signing, SigningRules, StoreError, row};

impl Postgres {
    pub(super) async fn sign(
        &self,
        request: SignPayment,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        let mut tx = self.pool.begin().await.doing(DOING)?;
        let signing = signing(&mut tx, &request, rules, &self.policies).await?;
        // Either way before the answer. A transaction that is only dropped ends a moment after it,
        // and until then whoever passes over locked rows (a claim, a take-over) misses the event.
        match signing {
            Outcome::Keep(signing) => {
                tx.commit().await.doing(DOING)?;
                Ok(signing)
            }
            // What was bound is undone: no nonce is used up.
            Outcome::Undo(signing) => {
                tx.rollback().await.doing(DOING)?;
                Ok(signing)
            }
        }
    }
}

/// Signs and stores, or says why not. Only after `Signed`, and after a policy's no, there is
/// something to commit.
async fn signing(
    connection: &mut PgConnection,
    request: &SignPayment,
    rules: &dyn SigningRules,
    policies: &Policies,
) -> Result<Outcome<Signing>, StoreError> {
    let event = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        " FROM outbox_events WHERE id = $1 AND lease_token = $2 AND status = 'PROCESSING' \
         FOR UPDATE"
    ))
    .bind(request.lease.event.as_uuid())
    .bind(request.lease.token.0)
    .fetch_optional(&mut *connection)
    .await
    .doing(DOING)?;
    let Some(event) = event else { return Ok(Outcome::Undo(Signing::LeaseLost)) };
    let event = row::event(&event)?;
    // Whoever fails or concludes the withdrawal holds the same lock.
    sqlx::query("SELECT 1 FROM withdrawals WHERE id = $1 FOR UPDATE")
        .bind(request.withdrawal.as_uuid())
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    let payment = payments(connection, &[request.withdrawal]).await?.pop();
    let payment = match sign::check(request, &event, payment) {
        Ok(payment) => payment,
        Err(answer) => return Ok(Outcome::Undo(*answer)),
    };
    let ruling = match judge(connection, policies, &payment, &request.account).await? {
        Judged::Passed(ruling) => ruling,
        Judged::Stopped(no) => return Ok(Outcome::Keep(Signing::Refused(no))),
    };
    let bound = match bind(connection, request, &payment).await? {
        Ok(bound) => bound,
        Err(refusal) => return Ok(Outcome::Undo(Signing::Refused(refusal))),
    };
    let under = Under::from(request);
    let situation = situation(connection, under, payment, &bound).await?;
    match rules.sign(&situation).await {
        Err(refusal) => Ok(Outcome::Undo(Signing::Refused(refusal))),
        Ok(signed) => {
            let signed = store(connection, under, bound, signed).await?;
            keep_ruling(connection, policies, &signed, ruling).await?;
            Ok(Outcome::Keep(Signing::Signed(signed)))
        }
    }
}

/// The nonce of this withdrawal: the one it has, or the account's next. Locks the account, so that
/// what else is in flight on it does not change before this is stored.
async fn bind(
    connection: &mut PgConnection,
    request: &SignPayment,
    payment: &Payment,
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
         WHERE chain_id = $1 AND address = $2 AND frozen_reason IS NULL \
         RETURNING next_nonce - 1",
    )
    .bind(chain_id)
    .bind(account)
    .fetch_one(&mut *connection)
    .await
    .doing(DOING)?;
    sqlx::query(
        "INSERT INTO withdrawal_nonces (withdrawal_id, chain_id, account, nonce) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(request.withdrawal.as_uuid())
    .bind(chain_id)
    .bind(account)
    .bind(nonce)
    .execute(connection)
    .await
    .doing(DOING)?;
    let nonce = u64::try_from(nonce).map_err(|e| StoreError::conflict(DOING, e.to_string()))?;
    Ok(Ok(Bound { account: account.clone(), nonce }))
}

/// Whether the account may sign. It is locked, so that this holds until what is signed is stored.
pub(super) async fn check_frozen(
    connection: &mut PgConnection,
    chain_id: u64,
    account: &str,
) -> Result<Result<(), SigningRefusal>, StoreError> {
    let found = sqlx::query(
        "SELECT chain_id, address, next_nonce, frozen_reason FROM chain_accounts \
         WHERE chain_id = $1 AND address = $2 FOR NO KEY UPDATE",
    )
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
    connection: &mut PgConnection,
    under: Under,
    payment: Payment,
    bound: &Bound,
) -> Result<SigningSituation, StoreError> {
    let chain_id = stored(DOING, under.chain_id)?;
    let asked = &payment.withdrawal.request;
    let open = sqlx::query(
        "SELECT s.withdrawal_id, s.native_cost_max::text AS native_cost_max, \
         s.asset_units::text AS asset_units, \
         w.asset = $4 AND w.network = $5 AS same_asset FROM withdrawals AS w \
         JOIN signed_transactions AS s ON s.withdrawal_id = w.id \
         WHERE w.status IN ('REQUESTED', 'BROADCASTED') AND w.id <> $1 \
         AND s.chain_id = $2 AND s.account = $3",
    )
    .bind(under.withdrawal.as_uuid())
    .bind(chain_id)
    .bind(&bound.account)
    .bind(&asked.asset)
    .bind(asked.network.as_str())
    .fetch_all(&mut *connection)
    .await
    .doing(DOING)?;
    let of_the_day = sqlx::query(
        "SELECT withdrawal_id, gas_limit, fee_max_per_gas::text AS fee_max_per_gas \
         FROM signed_transactions WHERE chain_id = $1 AND account = $2 \
         AND signed_at > now() - $3 * interval '1 microsecond'",
    )
    .bind(chain_id)
    .bind(&bound.account)
    .bind(DAY_MICROS)
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    sign::situation(payment, bound.nonce, &open, &of_the_day)
}

pub(super) async fn store(
    connection: &mut PgConnection,
    under: Under,
    bound: Bound,
    signed: NewSignedTransaction,
) -> Result<SignedTransaction, StoreError> {
    let mut kept = sign::kept(under, bound, signed, chrono::DateTime::UNIX_EPOCH);
    let new = &kept.signed;
    kept.signed_at = sqlx::query_scalar(
        "INSERT INTO signed_transactions (withdrawal_id, chain_id, account, nonce, hash, kind, \
         raw, gas_limit, fee_max_per_gas, priority_fee_max_per_gas, native_cost_max, \
         asset_units, signed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::numeric, \
         $10::text::numeric, $11::text::numeric, $12::text::numeric, now()) RETURNING signed_at",
    )
    .bind(kept.withdrawal.as_uuid())
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
    .fetch_one(connection)
    .await
    .doing(DOING)?;
    Ok(kept)
}
