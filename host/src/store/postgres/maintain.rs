//! What the retry and failure jobs do. Rows that another host is just working on are passed over.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::row::event_columns;
use super::write::{facts, write};
use crate::domain::{EventId, FailureReason};
use crate::store::error::Doing;
use crate::store::plan::{Plan, followers};
use crate::store::writes::Hopeless;
use crate::store::{MaintainStore, StoreError, row};

const FAIL: &str = "fail hopeless events";

#[async_trait]
impl MaintainStore for Postgres {
    async fn promote_due(&self, limit: u32) -> Result<u64, StoreError> {
        // In the queue it stands where its time puts it, not where it once stood.
        let promoted = sqlx::query(
            "UPDATE outbox_events SET status = 'PENDING', available_at = next_retry_at, \
             next_retry_at = NULL, updated_at = now() \
             WHERE id = ANY (ARRAY (SELECT id FROM outbox_events \
             WHERE status = 'RETRYING' AND next_retry_at <= now() \
             ORDER BY next_retry_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
        )
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .doing("promote events")?
        .rows_affected();
        if promoted > 0 {
            self.wakeup.send();
        }
        Ok(promoted)
    }

    async fn take_over_lost_leases(&self, limit: u32) -> Result<u64, StoreError> {
        self.pool.limited(super::leases::DOING, self.take_over(limit)).await
    }

    async fn fail_hopeless(
        &self,
        interruptions_max: u32,
        limit: u32,
    ) -> Result<Vec<(EventId, FailureReason)>, StoreError> {
        self.pool
            .limited(FAIL, async {
                let mut tx = self.pool.begin().await.doing(FAIL)?;
                let events = hopeless(&mut tx, interruptions_max, limit).await?;
                if events.is_empty() {
                    return Ok(Vec::new());
                }
                let (now, facts) = facts(&mut tx, &followers(&events)).await?;
                let writes = Plan::new(&self.flow, now, facts).give_up(&events);
                give_up(&mut tx, &events).await?;
                write(&mut tx, &writes).await?;
                tx.commit().await.doing(FAIL)?;
                if !writes.events.is_empty() {
                    self.wakeup.send();
                }
                Ok(events.into_iter().map(|e| (e.id, e.reason)).collect())
            })
            .await
    }
}

/// Locks what is to be given up: poison first, then what has expired.
async fn hopeless(
    connection: &mut PgConnection,
    interruptions_max: u32,
    limit: u32,
) -> Result<Vec<Hopeless>, StoreError> {
    let limit = i64::from(limit);
    let mut rows = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        ", 'poison' AS code FROM outbox_events WHERE status IN ('PENDING', 'RETRYING') \
         AND done_at IS NULL AND failure_code IS NULL \
         AND interruption_count > 0 AND interruption_count >= $1 LIMIT $2 FOR UPDATE SKIP LOCKED"
    ))
    .bind(i64::from(interruptions_max))
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .doing(FAIL)?;
    let left = limit.saturating_sub_unsigned(rows.len() as u64);
    let expired = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        ", 'expired' AS code FROM outbox_events WHERE status IN ('PENDING', 'RETRYING') \
         AND done_at IS NULL AND failure_code IS NULL AND valid_until IS NOT NULL AND valid_until <= now() AND NOT outcome_unknown \
         AND attempt_count + deferral_count + interruption_count = 0 \
         LIMIT $1 FOR UPDATE SKIP LOCKED"
    ))
    .bind(left)
    .fetch_all(connection)
    .await
    .doing(FAIL)?;
    rows.extend(expired);
    rows.iter().map(row::hopeless).collect()
}

async fn give_up(connection: &mut PgConnection, events: &[Hopeless]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox_events AS e SET status = 'FAILED', failure_code = s.code, \
         last_error = s.text, next_retry_at = NULL, updated_at = now() \
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS s (id, code, text) \
         WHERE e.id = s.id AND e.status IN ('PENDING', 'RETRYING')",
    )
    .bind(events.iter().map(|e| e.id.as_uuid()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.reason.code.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.reason.text.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .doing(FAIL)?;
    Ok(())
}
