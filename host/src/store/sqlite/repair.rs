//! What an operator decides about single events. The WHERE clause decides; what it met is read
//! afterwards, in the same job of the writer.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{EventId, EventType, WithdrawalId};
use crate::store::error::Doing;
use crate::store::row::{self, Columns};
use crate::store::writes::storable;
use crate::store::{Cancelled, CancelledWithdrawal, HistoryKind, RepairStore, Skipped, StoreError};

const SKIP: &str = "UPDATE outbox_events SET skipped_at = ?2, updated_at = ?2 \
     WHERE id = ?1 AND status = 'FAILED' AND skipped_at IS NULL";

const CANCEL: &str = "UPDATE outbox_events SET status = 'FAILED', failure_code = 'cancelled', \
     last_error = ?3, skipped_at = ?2, updated_at = ?2 \
     WHERE id = ?1 AND status = 'PENDING' AND lease_token = 0 AND attempt_count = 0 \
     AND aggregate_type <> 'WITHDRAWAL'";

#[async_trait]
impl RepairStore for Sqlite {
    async fn skip(&self, event: EventId, reason: &str) -> Result<Skipped, StoreError> {
        let decision = Decision { sql: SKIP, kind: HistoryKind::Skipped, doing: "skip an event" };
        match self.decide(event, reason, decision).await? {
            None => Ok(Skipped::Now),
            Some(met) => row::not_skipped(met.as_ref()),
        }
    }

    async fn cancel(&self, event: EventId, reason: &str) -> Result<Cancelled, StoreError> {
        let decision =
            Decision { sql: CANCEL, kind: HistoryKind::Cancelled, doing: "cancel an event" };
        match self.decide(event, reason, decision).await? {
            None => Ok(Cancelled::Now),
            Some(met) => row::not_cancelled(met.as_ref()),
        }
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
        let among = ordered_among.iter().map(EventType::as_str).collect::<Vec<_>>();
        let found = sqlx::query(
            "SELECT earlier.id AS id FROM outbox_events AS e JOIN outbox_events AS earlier \
             ON earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
             AND earlier.aggregate_type = e.aggregate_type AND earlier.status <> 'DONE' \
             AND earlier.skipped_at IS NULL \
             AND earlier.event_type IN (SELECT value FROM json_each(?2)) \
             WHERE e.id = ?1 AND e.status = 'PENDING' \
             AND e.event_type IN (SELECT value FROM json_each(?2)) \
             ORDER BY earlier.position DESC LIMIT 1",
        )
        .bind(event.to_string())
        .bind(json(&among)?)
        .fetch_optional(&self.reads)
        .await
        .doing("look for what holds an event")?;
        found
            .map(|found| row::field("outbox_events", found.uuid("id")).map(EventId::from_uuid))
            .transpose()
    }

    async fn holders(
        &self,
        events: &[EventId],
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventId, EventId)>, StoreError> {
        let mut holders = Vec::new();
        // In this process, so that one question more costs next to nothing.
        for event in events {
            if let Some(by) = self.held_by(*event, ordered_among).await? {
                holders.push((*event, by));
            }
        }
        Ok(holders)
    }
}

/// One way to decide about an event: ?1 is its id, ?2 the time, ?3 the reason.
#[derive(Clone, Copy)]
struct Decision {
    sql: &'static str,
    kind: HistoryKind,
    doing: &'static str,
}

impl Sqlite {
    /// None if it was done; otherwise the row that it met, if there is one.
    async fn decide(
        &self,
        event: EventId,
        reason: &str,
        decision: Decision,
    ) -> Result<Option<Option<SqliteRow>>, StoreError> {
        let reason = storable(reason);
        let met = self
            .writer
            .write(decision.doing, move |c| Box::pin(decide(c, event, reason, decision)))
            .await?;
        if met.is_none() {
            // Those behind it are free.
            self.wakeup.send();
        }
        Ok(met)
    }
}

async fn decide(
    connection: &mut SqliteConnection,
    event: EventId,
    reason: String,
    decision: Decision,
) -> Result<Outcome<Option<Option<SqliteRow>>>, StoreError> {
    let Decision { sql, kind, doing } = decision;
    let at = micros_of(now());
    let done = sqlx::query(sql)
        .bind(event.to_string())
        .bind(at)
        .bind(&reason)
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    if done.rows_affected() == 0 {
        let met = sqlx::query("SELECT * FROM outbox_events WHERE id = ?")
            .bind(event.to_string())
            .fetch_optional(connection)
            .await
            .doing(doing)?;
        return Ok(Outcome::Undo(Some(met)));
    }
    sqlx::query(
        "INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
         VALUES (?1, ?4, 0, ?3, ?2, ?2)",
    )
    .bind(event.to_string())
    .bind(at)
    .bind(reason)
    .bind(kind.as_str())
    .execute(connection)
    .await
    .doing(doing)?;
    Ok(Outcome::Keep(None))
}
