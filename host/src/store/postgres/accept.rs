//! Taking withdrawals, or events of others, in one round trip.

use async_trait::async_trait;

use sqlx::Postgres as Driver;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use uuid::Uuid;

use super::Postgres;
use super::connections::Connections;
use crate::domain::NewEvent;
use crate::store::error::Doing;
use crate::store::gather::AcceptTogether;
use crate::store::writes::storable_traceparent;
use crate::store::{
    AcceptEvents, AcceptStore, AcceptWithdrawal, Accepted, AcceptedEvents, IdempotencyClaim,
    StoreError, row,
};

const DOING: &str = "accept a withdrawal";
const TAKING: &str = "accept events";

/// The keys decide: of a request whose key another has, nothing else is written. Who comes with a
/// key that is being written waits here until that is decided, and all take keys in one order, so
/// that nobody waits in a circle. The setting is the transaction's: the events are announced
/// afterwards (see `announce`).
const ACCEPT: &str = "\
    WITH asked AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], \
    $4::int[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::text[], \
    $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[], \
    $16::timestamptz[]) WITH ORDINALITY AS s (scope, key, fingerprint, answer_status, \
    answer_location, answer_body, id, user_id, asset, network, amount, destination_address, \
    status, requested_at, created_at, updated_at, n)), \
    claimed AS (INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, \
    answer_location, answer_body) SELECT scope, key, fingerprint, answer_status, answer_location, \
    answer_body FROM asked ORDER BY scope, key ON CONFLICT DO NOTHING \
    RETURNING scope, key, set_config('tidegate.announced_later', 'on', true)), \
    taken AS MATERIALIZED (SELECT asked.* FROM asked JOIN claimed USING (scope, key)), \
    written AS (INSERT INTO withdrawals (id, user_id, asset, network, amount, \
    destination_address, status, requested_at, created_at, updated_at, requested_by) \
    SELECT id, user_id, asset, network, amount::numeric, destination_address, status, \
    requested_at, created_at, updated_at, scope FROM taken), \
    events AS (INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
    idempotency_key, available_at, valid_until, traceparent) \
    SELECT s.id, s.aggregate_type, s.aggregate_id, s.event_type, s.payload::json, s.key, \
    coalesce(s.available_at, now()), s.valid_until, s.traceparent FROM \
    unnest($17::uuid[], $18::text[], $19::text[], $20::text[], $21::text[], $22::uuid[], \
    $23::timestamptz[], $24::timestamptz[], $25::text[], $26::bigint[]) WITH ORDINALITY \
    AS s (id, aggregate_type, aggregate_id, event_type, payload, key, available_at, \
    valid_until, traceparent, of, n) JOIN taken ON taken.n = s.of ORDER BY s.n) \
    SELECT n FROM taken";

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
        let idempotency = request.idempotency.clone();
        if self.gathering.accept(request).await? {
            self.wakeup.send();
            self.announcing.send();
            return Ok(Accepted::Created);
        }
        self.find_answer(&idempotency)
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
        let written =
            bind_events(query, &events.iter().collect::<Vec<_>>()).fetch_one(&self.pool).await;
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

/// Where withdrawals are written that were handed in at the same time.
pub(super) struct Together(pub(super) Connections);

#[async_trait]
impl AcceptTogether for Together {
    async fn accept_together(
        &self,
        requests: &[AcceptWithdrawal],
    ) -> Result<Vec<bool>, StoreError> {
        fn column<'r, C>(
            requests: &'r [AcceptWithdrawal],
            of: impl Fn(&'r AcceptWithdrawal) -> C,
        ) -> Vec<C> {
            requests.iter().map(of).collect()
        }
        let numbers: Vec<i64> = (1..).zip(requests).map(|(n, _)| n).collect();
        let of_request = |(n, r): (&i64, &AcceptWithdrawal)| vec![*n; r.events.len()];
        let of: Vec<i64> = numbers.iter().zip(requests).flat_map(of_request).collect();
        let events: Vec<&NewEvent> = requests.iter().flat_map(|r| &r.events).collect();
        let query = sqlx::query_scalar(ACCEPT)
            .bind(column(requests, |r| r.idempotency.scope.as_str()))
            .bind(column(requests, |r| r.idempotency.key.as_str()))
            .bind(column(requests, |r| r.idempotency.fingerprint.as_str()))
            .bind(column(requests, |r| i32::from(r.answer.status)))
            .bind(column(requests, |r| r.answer.location.as_str()))
            .bind(column(requests, |r| r.answer.body.as_str()))
            .bind(column(requests, |r| r.withdrawal.id.as_uuid()))
            .bind(column(requests, |r| r.withdrawal.request.user_id.as_str()))
            .bind(column(requests, |r| r.withdrawal.request.asset.as_str()))
            .bind(column(requests, |r| r.withdrawal.request.network.as_str()))
            .bind(column(requests, |r| r.withdrawal.request.amount.to_string()))
            .bind(column(requests, |r| r.withdrawal.request.destination_address.as_str()))
            .bind(column(requests, |r| r.withdrawal.state.status().as_str()))
            .bind(column(requests, |r| r.withdrawal.requested_at))
            .bind(column(requests, |r| r.withdrawal.created_at))
            .bind(column(requests, |r| r.withdrawal.updated_at));
        let written: Vec<i64> =
            bind_events(query, &events).bind(of).fetch_all(&self.0).await.doing(DOING)?;
        Ok(numbers.iter().map(|n| written.contains(n)).collect())
    }
}

impl Postgres {
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
    events: &[&'q NewEvent],
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
