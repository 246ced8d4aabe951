//! What people and programs look at, and repair.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite as Driver};
use uuid::Uuid;

use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{
    EventId, EventStatus, EventType, Network, OutboxEvent, Withdrawal, WithdrawalId,
    WithdrawalStatus,
};
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{
    EventFilter, EventHistory, HistoryEntry, OperateStore, Page, Replayed, StoreError, StoreFault,
    Timeline, WithdrawalFilter, row,
};

/// How long a look at the file may take.
const PING_MAX: Duration = Duration::from_millis(1_800);

const READ: &str = "read the store";

#[async_trait]
impl OperateStore for Sqlite {
    async fn withdrawal(&self, id: WithdrawalId) -> Result<Option<Withdrawal>, StoreError> {
        let found = sqlx::query("SELECT * FROM withdrawals WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.reads)
            .await
            .doing(READ)?;
        found.as_ref().map(row::withdrawal).transpose()
    }

    async fn withdrawals(
        &self,
        filter: &WithdrawalFilter,
        page: Page,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let mut query = List::of("withdrawals", page.before);
        query.equal("status", filter.status.map(WithdrawalStatus::as_str));
        query.equal("user_id", filter.user_id.as_deref());
        query.equal("network", filter.network.as_ref().map(Network::as_str));
        query.compare("requested_at >= ", filter.since.map(micros_of));
        query.compare("requested_at < ", filter.until.map(micros_of));
        query.fetch(self, page.limit).await?.iter().map(row::withdrawal).collect()
    }

    async fn timeline(&self, id: WithdrawalId) -> Result<Option<Timeline>, StoreError> {
        // One transaction, so that the parts are of one moment.
        let mut tx = self.reads.begin().await.doing(READ)?;
        let Some(payment) = super::chain::payments(&mut tx, &[id]).await?.pop() else {
            return Ok(None);
        };
        let steps =
            sqlx::query("SELECT * FROM withdrawal_transitions WHERE withdrawal_id = ? ORDER BY id")
                .bind(id.to_string())
                .fetch_all(&mut *tx)
                .await
                .doing(READ)?;
        let events = sqlx::query(
            "SELECT * FROM outbox_events WHERE aggregate_id = ?1 AND status <> 'DONE' \
             AND aggregate_type = 'WITHDRAWAL' UNION ALL \
             SELECT * FROM outbox_events WHERE aggregate_id = ?1 AND status = 'DONE' \
             AND aggregate_type = 'WITHDRAWAL' ORDER BY position",
        )
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
        let mut tx = self.reads.begin().await.doing(READ)?;
        let found = sqlx::query("SELECT * FROM outbox_events WHERE id = ?")
            .bind(id.to_string())
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
        let mut query = List::of("outbox_events", page.before);
        query.equal("status", filter.status.map(EventStatus::as_str));
        query.equal("event_type", filter.event_type.as_ref().map(EventType::as_str));
        query.equal("aggregate_type", filter.aggregate_type.as_deref());
        query.equal("aggregate_id", filter.aggregate_id.as_deref());
        query.compare("created_at >= ", filter.since.map(micros_of));
        query.compare("created_at < ", filter.until.map(micros_of));
        query.fetch(self, page.limit).await?.iter().map(row::event).collect()
    }

    async fn replay(&self, event: EventId, asked_by: &str) -> Result<Replayed, StoreError> {
        let asked_by = storable(asked_by);
        let replayed = self
            .writer
            .write("replay an event", move |c| Box::pin(replay(c, event, asked_by)))
            .await?;
        if replayed == Replayed::Pending {
            self.wakeup.send();
        }
        Ok(replayed)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        const DOING: &str = "answer a ping";
        let read = sqlx::query("SELECT 1 FROM outbox_events LIMIT 1").fetch_optional(&self.reads);
        let late = |_| StoreError::away(DOING, StoreFault::TimedOut, "no answer in time");
        tokio::time::timeout(PING_MAX, read).await.map_err(late)?.doing(DOING)?;
        // A file can be read while it cannot be written. The jobs write all the time, so the writer
        // knows.
        match self.writer.fault() {
            Some(fault) => Err(StoreError::away(DOING, fault, "the last write failed")),
            None => Ok(()),
        }
    }

    /// SQLite tells a process nothing of another's writes.
    fn is_woken_by_others(&self) -> bool {
        false
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

async fn replay(
    connection: &mut SqliteConnection,
    event: EventId,
    asked_by: String,
) -> Result<Outcome<Replayed>, StoreError> {
    const DOING: &str = "replay an event";
    let at = micros_of(now());
    // `valid_until` goes: who replays wants it delivered, late or not. Whether its outcome is known
    // stays, so that the handler looks before it acts again.
    let replayed = sqlx::query(
        "UPDATE outbox_events SET status = 'PENDING', failure_code = NULL, skipped_at = NULL, \
         attempt_count = 0, interruption_count = 0, deferral_count = 0, available_at = ?2, \
         valid_until = NULL, updated_at = ?2 WHERE id = ?1 AND status = 'FAILED'",
    )
    .bind(event.to_string())
    .bind(at)
    .execute(&mut *connection)
    .await
    .doing(DOING)?;
    if replayed.rows_affected() == 0 {
        let status: Option<String> =
            sqlx::query_scalar("SELECT status FROM outbox_events WHERE id = ?")
                .bind(event.to_string())
                .fetch_optional(connection)
                .await
                .doing(DOING)?;
        return row::not_replayed(event, status.as_deref()).map(Outcome::Undo);
    }
    sqlx::query(
        "INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
         VALUES (?1, 'replayed', 0, ?3, ?2, ?2)",
    )
    .bind(event.to_string())
    .bind(at)
    .bind(asked_by)
    .execute(connection)
    .await
    .doing(DOING)?;
    Ok(Outcome::Keep(Replayed::Pending))
}

async fn with_history(
    connection: &mut SqliteConnection,
    events: Vec<OutboxEvent>,
) -> Result<Vec<EventHistory>, StoreError> {
    let ids: Vec<_> = events.iter().map(|e| e.id.to_string()).collect();
    let rows = sqlx::query(
        "SELECT * FROM outbox_attempts WHERE event_id IN (SELECT value FROM json_each(?)) \
         ORDER BY id",
    )
    .bind(json(&ids)?)
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

/// A list, newest first, whose conditions are put together.
struct List(QueryBuilder<Driver>);

impl List {
    /// `table` and the columns below are ours, never a caller's.
    fn of(table: &'static str, before: Option<Uuid>) -> Self {
        let mut query = QueryBuilder::new("SELECT * FROM ");
        query.push(table).push(" WHERE 1 = 1");
        let mut list = Self(query);
        list.compare("id < ", before.map(|id| id.hyphenated().to_string()));
        list
    }

    fn equal(&mut self, column: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(" AND ").push(column).push(" = ").push_bind(value);
        }
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
        store: &Sqlite,
        limit: u32,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
        self.0.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
        self.0.build().fetch_all(&store.reads).await.doing(READ)
    }
}
