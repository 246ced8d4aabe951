//! What people and programs look at, and repair.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres as Driver, QueryBuilder};
use uuid::Uuid;

use super::Postgres;
use super::row::{event_columns, in_queue, withdrawal_columns};
use crate::domain::{
    EventId, EventStatus, EventType, Network, OutboxEvent, Withdrawal, WithdrawalId,
    WithdrawalStatus,
};
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{
    EventFilter, EventHistory, HistoryEntry, OperateStore, Page, Replayed, StoreError, Timeline,
    WithdrawalFilter, row,
};

const READ: &str = "read the store";

#[async_trait]
impl OperateStore for Postgres {
    async fn withdrawal(&self, id: WithdrawalId) -> Result<Option<Withdrawal>, StoreError> {
        let found = sqlx::query(concat!(
            "SELECT ",
            withdrawal_columns!(),
            " FROM withdrawals WHERE id = $1"
        ))
        .bind(id.as_uuid())
        .fetch_optional(&self.pool)
        .await
        .doing(READ)?;
        found.as_ref().map(row::withdrawal).transpose()
    }

    async fn withdrawals(
        &self,
        filter: &WithdrawalFilter,
        page: Page,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let mut query =
            List::of(concat!("SELECT ", withdrawal_columns!(), " FROM withdrawals"), page.before);
        query.equal("status", filter.status.map(WithdrawalStatus::as_str));
        query.equal("user_id", filter.user_id.as_deref());
        query.equal("network", filter.network.as_ref().map(Network::as_str));
        query.compare("requested_at >= ", filter.since);
        query.compare("requested_at < ", filter.until);
        query.fetch(self, page.limit).await?.iter().map(row::withdrawal).collect()
    }

    async fn timeline(&self, id: WithdrawalId) -> Result<Option<Timeline>, StoreError> {
        // One snapshot, so that the parts are of one moment.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut tx = self.pool.begin_with(begin).await.doing(READ)?;
        let Some(payment) = super::chain::payments(&mut tx, &[id]).await?.pop() else {
            return Ok(None);
        };
        let steps = sqlx::query(
            "SELECT withdrawal_id, from_status, to_status, tx_hash, reason, \
             evidence::text AS evidence, created_at FROM withdrawal_transitions \
             WHERE withdrawal_id = $1 ORDER BY id",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *tx)
        .await
        .doing(READ)?;
        let events = sqlx::query(concat!(
            "SELECT ",
            event_columns!(),
            " FROM outbox_events WHERE aggregate_id = $1 AND done_at IS NULL \
             AND aggregate_type = 'WITHDRAWAL' UNION ALL SELECT ",
            event_columns!(),
            " FROM outbox_events WHERE aggregate_id = $1 AND done_at IS NOT NULL \
             AND aggregate_type = 'WITHDRAWAL' ORDER BY position"
        ))
        .bind(id.to_string())
        .fetch_all(&mut *tx)
        .await
        .doing(READ)?;
        let events = events.iter().map(row::event).collect::<Result<Vec<_>, _>>()?;
        let steps = steps.iter().map(row::transition).collect::<Result<Vec<_>, _>>()?;
        let events = with_history(&mut tx, events).await?;
        Ok(Some(Timeline::of(payment, steps, events)))
    }

    async fn event(&self, id: EventId) -> Result<Option<EventHistory>, StoreError> {
        let mut tx = self.pool.begin().await.doing(READ)?;
        let found =
            sqlx::query(concat!("SELECT ", event_columns!(), " FROM outbox_events WHERE id = $1"))
                .bind(id.as_uuid())
                .fetch_optional(&mut *tx)
                .await
                .doing(READ)?;
        let Some(event) = found.as_ref().map(row::event).transpose()? else { return Ok(None) };
        Ok(with_history(&mut tx, vec![event]).await?.pop())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        page: Page,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let mut query =
            List::of(concat!("SELECT ", event_columns!(), " FROM outbox_events"), page.before);
        query.equal("status", filter.status.map(EventStatus::as_str));
        if let Some(status) = filter.status {
            query.condition(found_by(status));
        }
        query.equal("event_type", filter.event_type.as_ref().map(EventType::as_str));
        query.equal("aggregate_type", filter.aggregate_type.as_deref());
        query.equal("aggregate_id", filter.aggregate_id.as_deref());
        query.compare("created_at >= ", filter.since);
        query.compare("created_at < ", filter.until);
        query.fetch(self, page.limit).await?.iter().map(row::event).collect()
    }

    async fn replay(&self, event: EventId, asked_by: &str) -> Result<Replayed, StoreError> {
        const DOING: &str = "replay an event";
        // `valid_until` goes: who replays wants it delivered, late or not. Whether its outcome is
        // known stays, so that the handler looks before it acts again.
        let replayed = sqlx::query(
            "WITH replayed AS (UPDATE outbox_events SET status = 'PENDING', failure_code = NULL, \
             skipped_at = NULL, attempt_count = 0, interruption_count = 0, deferral_count = 0, \
             available_at = now(), valid_until = NULL, updated_at = now() \
             WHERE id = $1 AND status = 'FAILED' RETURNING id) \
             INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
             SELECT id, 'replayed', 0, $2, now(), now() FROM replayed",
        )
        .bind(event.as_uuid())
        .bind(storable(asked_by))
        .execute(&self.pool)
        .await
        .doing(DOING)?;
        if replayed.rows_affected() == 1 {
            self.wakeup.send();
            return Ok(Replayed::Pending);
        }
        let status: Option<String> =
            sqlx::query_scalar("SELECT status FROM outbox_events WHERE id = $1")
                .bind(event.as_uuid())
                .fetch_optional(&self.pool)
                .await
                .doing(DOING)?;
        row::not_replayed(event, status.as_deref())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pool.check().await
    }

    fn is_woken_by_others(&self) -> bool {
        self.listening.is_on()
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

async fn with_history(
    connection: &mut PgConnection,
    events: Vec<OutboxEvent>,
) -> Result<Vec<EventHistory>, StoreError> {
    let ids: Vec<_> = events.iter().map(|e| e.id.as_uuid()).collect();
    let rows = sqlx::query(
        "SELECT event_id, kind, attempt, reason, plugin, release_digest, started_at, ended_at \
         FROM outbox_attempts WHERE event_id = ANY($1) ORDER BY id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .doing(READ)?;
    let mut entries: HashMap<EventId, Vec<HistoryEntry>> = HashMap::new();
    for found in &rows {
        let (event, entry) = row::history(found)?;
        entries.entry(event).or_default().push(entry);
    }
    Ok(events
        .into_iter()
        .map(|event| EventHistory { entries: entries.remove(&event.id).unwrap_or_default(), event })
        .collect())
}

/// What the index of a status says of it.
fn found_by(status: EventStatus) -> &'static str {
    match status {
        EventStatus::Pending | EventStatus::Processing => in_queue!(""),
        EventStatus::Retrying => "next_retry_at IS NOT NULL",
        EventStatus::Failed => "failure_code IS NOT NULL",
        EventStatus::Done => "done_at IS NOT NULL",
    }
}

/// A list, newest first, whose conditions are put together.
struct List(QueryBuilder<Driver>);

impl List {
    /// `select` and the columns below are ours, never a caller's.
    fn of(select: &'static str, before: Option<Uuid>) -> Self {
        let mut query = QueryBuilder::new(select);
        query.push(" WHERE true");
        let mut list = Self(query);
        list.compare("id < ", before);
        list
    }

    fn equal(&mut self, column: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }

    fn condition(&mut self, condition: &'static str) {
        self.0.push(" AND ").push(condition);
    }

    fn compare<T>(&mut self, comparison: &'static str, value: Option<T>)
    where
        T: for<'q> sqlx::Encode<'q, Driver> + sqlx::Type<Driver>,
    {
        if let Some(value) = value {
            self.0.push(" AND ").push(comparison).push_bind(value);
        }
    }

    async fn fetch(
        mut self,
        store: &Postgres,
        limit: u32,
    ) -> Result<Vec<sqlx::postgres::PgRow>, StoreError> {
        self.0.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
        self.0.build().fetch_all(&store.pool).await.doing(READ)
    }
}
