//! Taking a withdrawal, in one round trip.

use async_trait::async_trait;

use super::Postgres;
use crate::store::error::Doing;
use crate::store::writes::storable_traceparent;
use crate::store::{AcceptStore, AcceptWithdrawal, Accepted, IdempotencyClaim, StoreError, row};

const DOING: &str = "accept a withdrawal";

/// The key decides: if another request has it, nothing else is written. Who comes with a key that
/// is being written waits here until that is decided. The setting is the transaction's: the events
/// are announced afterwards (see `announce`).
const ACCEPT: &str = "\
    WITH claimed AS (INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, \
    answer_location, answer_body) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT DO NOTHING RETURNING set_config('tidegate.announced_later', 'on', true)), \
    withdrawal AS (INSERT INTO withdrawals (id, user_id, asset, network, amount, \
    destination_address, status, requested_at, created_at, updated_at) \
    SELECT $7, $8, $9, $10, $11::text::numeric, $12, $13, $14, $15, $16 FROM claimed), \
    events AS (INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
    idempotency_key, available_at, valid_until, traceparent) \
    SELECT s.id, s.aggregate_type, s.aggregate_id, s.event_type, s.payload::json, s.key, \
    coalesce(s.available_at, now()), s.valid_until, s.traceparent FROM claimed, \
    unnest($17::uuid[], $18::text[], $19::text[], $20::text[], $21::text[], $22::uuid[], \
    $23::timestamptz[], $24::timestamptz[], $25::text[]) WITH ORDINALITY \
    AS s (id, aggregate_type, aggregate_id, event_type, payload, key, available_at, \
    valid_until, traceparent, n) ORDER BY s.n) \
    SELECT count(*) FROM claimed";

#[async_trait]
impl AcceptStore for Postgres {
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError> {
        if self.insert(&request).await? == 1 {
            self.wakeup.send();
            self.announcing.send();
            return Ok(Accepted::Created);
        }
        self.find_answer(&request.idempotency)
            .await?
            .ok_or_else(|| StoreError::unavailable(DOING, "the idempotency key is taken and gone"))
    }

    async fn find_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Accepted>, StoreError> {
        let found = sqlx::query("SELECT * FROM idempotency_keys WHERE scope = $1 AND key = $2")
            .bind(&claim.scope)
            .bind(&claim.key)
            .fetch_optional(&self.pool)
            .await
            .doing("look for an answer")?;
        let Some(found) = found else { return Ok(None) };
        let (fingerprint, answer) = row::answer(&found)?;
        Ok(Some(if fingerprint == claim.fingerprint {
            Accepted::Replayed(answer)
        } else {
            Accepted::KeyReused
        }))
    }
}

impl Postgres {
    /// How many withdrawals were written: one, or none because the key is taken.
    async fn insert(&self, request: &AcceptWithdrawal) -> Result<i64, StoreError> {
        let AcceptWithdrawal { withdrawal, events, idempotency, answer } = request;
        sqlx::query_scalar(ACCEPT)
            .bind(&idempotency.scope)
            .bind(&idempotency.key)
            .bind(&idempotency.fingerprint)
            .bind(i32::from(answer.status))
            .bind(&answer.location)
            .bind(&answer.body)
            .bind(withdrawal.id.as_uuid())
            .bind(&withdrawal.request.user_id)
            .bind(&withdrawal.request.asset)
            .bind(withdrawal.request.network.as_str())
            .bind(withdrawal.request.amount.to_string())
            .bind(&withdrawal.request.destination_address)
            .bind(withdrawal.state.status().as_str())
            .bind(withdrawal.requested_at)
            .bind(withdrawal.created_at)
            .bind(withdrawal.updated_at)
            .bind(events.iter().map(|e| e.id.as_uuid()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.aggregate.kind()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.aggregate.id()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.event_type.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.payload.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.idempotency_key).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.available_at).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.valid_until).collect::<Vec<_>>())
            .bind(
                events
                    .iter()
                    .map(|e| storable_traceparent(e.traceparent.as_deref()))
                    .collect::<Vec<_>>(),
            )
            .fetch_one(&self.pool)
            .await
            .doing(DOING)
    }
}
