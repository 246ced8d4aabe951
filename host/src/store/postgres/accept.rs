//! Taking a withdrawal, or events of others, in one round trip.

use async_trait::async_trait;

use sqlx::Postgres as Driver;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use uuid::Uuid;

use super::Postgres;
use crate::domain::NewEvent;
use crate::store::error::Doing;
use crate::store::writes::storable_traceparent;
use crate::store::{
    AcceptEvents, AcceptStore, AcceptWithdrawal, Accepted, AcceptedEvents, IdempotencyClaim,
    StoreError, row,
};

const DOING: &str = "accept a withdrawal";
const TAKING: &str = "accept events";

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

/// The same for events alone. The index `outbox_events_key` refuses all if one's own key is taken.
const TAKE: &str = "\
    WITH claimed AS (INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, \
    answer_location, answer_body) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT DO NOTHING RETURNING 1), \
    events AS (INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
    idempotency_key, available_at, valid_until, traceparent) \
    SELECT s.id, s.aggregate_type, s.aggregate_id, s.event_type, s.payload::json, s.key, \
    coalesce(s.available_at, now()), s.valid_until, s.traceparent FROM claimed, \
    unnest($7::uuid[], $8::text[], $9::text[], $10::text[], $11::text[], $12::uuid[], \
    $13::timestamptz[], $14::timestamptz[], $15::text[]) WITH ORDINALITY \
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

    async fn accept_events(&self, request: AcceptEvents) -> Result<AcceptedEvents, StoreError> {
        let AcceptEvents { events, idempotency, answer } = &request;
        let query = sqlx::query_scalar(TAKE)
            .bind(&idempotency.scope)
            .bind(&idempotency.key)
            .bind(&idempotency.fingerprint)
            .bind(i32::from(answer.status))
            .bind(&answer.location)
            .bind(&answer.body);
        let written = bind_events(query, events).fetch_one(&self.pool).await;
        if let Err(error) = &written
            && error.as_database_error().and_then(|e| e.constraint()) == Some("outbox_events_key")
        {
            return self.taken(events).await.map(AcceptedEvents::EventKeysTaken);
        }
        if written.doing(TAKING)? == 1 {
            self.wakeup.send();
            return Ok(AcceptedEvents::As(Accepted::Created));
        }
        let before = self.find_answer(idempotency).await?;
        before
            .map(AcceptedEvents::As)
            .ok_or_else(|| StoreError::unavailable(TAKING, "the idempotency key is taken and gone"))
    }

    async fn find_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Accepted>, StoreError> {
        let found = sqlx::query(
            "SELECT key, fingerprint, answer_status, answer_location, answer_body \
             FROM idempotency_keys WHERE scope = $1 AND key = $2",
        )
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
        let query = sqlx::query_scalar(ACCEPT)
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
            .bind(withdrawal.updated_at);
        bind_events(query, events).fetch_one(&self.pool).await.doing(DOING)
    }

    /// Which of these events' own keys are in the outbox.
    async fn taken(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, StoreError> {
        let taken: Vec<Uuid> = sqlx::query_scalar(
            "SELECT idempotency_key FROM outbox_events WHERE idempotency_key = ANY($1) \
             ORDER BY position",
        )
        .bind(events.iter().map(|e| e.idempotency_key).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .doing(TAKING)?;
        if taken.is_empty() {
            return Err(StoreError::unavailable(TAKING, "an event's key is taken and gone"));
        }
        Ok(taken)
    }
}

/// Binds events as arrays, one a column.
fn bind_events<'q>(
    query: QueryScalar<'q, Driver, i64, PgArguments>,
    events: &'q [NewEvent],
) -> QueryScalar<'q, Driver, i64, PgArguments> {
    query
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
}
