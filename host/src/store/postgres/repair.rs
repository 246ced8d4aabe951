//! What an operator decides about single events. Each decision and its line of history are one
//! statement, whose WHERE clause decides.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::Postgres;
use crate::domain::{EventId, EventType, WithdrawalId};
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{Cancelled, CancelledWithdrawal, RepairStore, Skipped, StoreError, row};

#[async_trait]
impl RepairStore for Postgres {
    async fn skip(&self, event: EventId, reason: &str) -> Result<Skipped, StoreError> {
        const DOING: &str = "skip an event";
        let skipped = sqlx::query(
            "WITH skipped AS (UPDATE outbox_events SET skipped_at = now(), updated_at = now() \
             WHERE id = $1 AND status = 'FAILED' AND skipped_at IS NULL RETURNING id) \
             INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
             SELECT id, 'skipped', 0, $2, now(), now() FROM skipped",
        )
        .bind(event.as_uuid())
        .bind(storable(reason))
        .execute(&self.pool)
        .await
        .doing(DOING)?;
        if skipped.rows_affected() == 1 {
            // Those behind it are free.
            self.wakeup.send();
            return Ok(Skipped::Now);
        }
        row::not_skipped(self.as_it_is(event, DOING).await?.as_ref())
    }

    async fn cancel(&self, event: EventId, reason: &str) -> Result<Cancelled, StoreError> {
        const DOING: &str = "cancel an event";
        let cancelled = sqlx::query(
            "WITH cancelled AS (UPDATE outbox_events SET status = 'FAILED', \
             failure_code = 'cancelled', last_error = $2, skipped_at = now(), updated_at = now() \
             WHERE id = $1 AND status = 'PENDING' AND lease_token = 0 AND attempt_count = 0 \
             AND aggregate_type <> 'WITHDRAWAL' RETURNING id) \
             INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
             SELECT id, 'cancelled', 0, $2, now(), now() FROM cancelled",
        )
        .bind(event.as_uuid())
        .bind(storable(reason))
        .execute(&self.pool)
        .await
        .doing(DOING)?;
        if cancelled.rows_affected() == 1 {
            self.wakeup.send();
            return Ok(Cancelled::Now);
        }
        row::not_cancelled(self.as_it_is(event, DOING).await?.as_ref())
    }

    async fn cancel_withdrawal(
        &self,
        withdrawal: WithdrawalId,
        reason: &str,
        by: &str,
    ) -> Result<CancelledWithdrawal, StoreError> {
        self.cancel_open(withdrawal, reason, by).await
    }

    async fn held_by(
        &self,
        event: EventId,
        ordered_among: &[EventType],
    ) -> Result<Option<EventId>, StoreError> {
        let held_by: Option<Uuid> = sqlx::query_scalar(
            "SELECT earlier.id FROM outbox_events AS e JOIN outbox_events AS earlier \
             ON earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
             AND earlier.aggregate_type = e.aggregate_type AND earlier.done_at IS NULL \
             AND earlier.skipped_at IS NULL AND earlier.event_type = ANY ($2::text[]) \
             WHERE e.id = $1 AND e.status = 'PENDING' AND e.event_type = ANY ($2::text[]) \
             ORDER BY earlier.position DESC LIMIT 1",
        )
        .bind(event.as_uuid())
        .bind(ordered_among.iter().map(EventType::as_str).collect::<Vec<_>>())
        .fetch_optional(&self.pool)
        .await
        .doing("look for what holds an event")?;
        Ok(held_by.map(EventId::from_uuid))
    }

    async fn holders(
        &self,
        events: &[EventId],
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventId, EventId)>, StoreError> {
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT e.id, earlier.id FROM outbox_events AS e CROSS JOIN LATERAL (SELECT held.id \
             FROM outbox_events AS held WHERE held.aggregate_id = e.aggregate_id \
             AND held.position < e.position AND held.aggregate_type = e.aggregate_type \
             AND held.done_at IS NULL AND held.skipped_at IS NULL \
             AND held.event_type = ANY ($2::text[]) ORDER BY held.position DESC LIMIT 1) AS earlier \
             WHERE e.id = ANY ($1) AND e.status = 'PENDING' AND e.event_type = ANY ($2::text[])",
        )
        .bind(events.iter().map(EventId::as_uuid).collect::<Vec<_>>())
        .bind(ordered_among.iter().map(EventType::as_str).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .doing("look for what holds events")?;
        let ids = |(event, by)| (EventId::from_uuid(event), EventId::from_uuid(by));
        Ok(rows.into_iter().map(ids).collect())
    }
}

impl Postgres {
    /// What an operator's decision met.
    async fn as_it_is(
        &self,
        event: EventId,
        doing: &'static str,
    ) -> Result<Option<PgRow>, StoreError> {
        sqlx::query(
            "SELECT id, status, aggregate_type, failure_code, skipped_at FROM outbox_events \
             WHERE id = $1",
        )
        .bind(event.as_uuid())
        .fetch_optional(&self.pool)
        .await
        .doing(doing)
    }
}
