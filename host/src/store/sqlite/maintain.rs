//! What the retry and failure jobs do.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::{facts, json, micros_of, write};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{EventId, FailureReason, Flow};
use crate::store::error::Doing;
use crate::store::plan::{Plan, followers};
use crate::store::writes::Hopeless;
use crate::store::{MaintainStore, StoreError, row};

const FAIL: &str = "fail hopeless events";

#[async_trait]
impl MaintainStore for Sqlite {
    async fn promote_due(&self, limit: u32) -> Result<u64, StoreError> {
        const DOING: &str = "promote events";
        let promoted = self
            .writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    // In the queue it stands where its time puts it, not where it once stood.
                    let done = sqlx::query(
                        "UPDATE outbox_events SET status = 'PENDING', \
                         available_at = next_retry_at, next_retry_at = NULL, updated_at = ?1 \
                         WHERE position IN (SELECT position FROM outbox_events \
                         WHERE status = 'RETRYING' AND next_retry_at <= ?1 \
                         ORDER BY next_retry_at LIMIT ?2)",
                    )
                    .bind(micros_of(now()))
                    .bind(limit)
                    .execute(c)
                    .await
                    .doing(DOING)?
                    .rows_affected();
                    Ok(if done == 0 { Outcome::Undo(0) } else { Outcome::Keep(done) })
                })
            })
            .await?;
        if promoted > 0 {
            self.wakeup.send();
        }
        Ok(promoted)
    }

    async fn take_over_lost_leases(&self, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .write("take over lost leases", move |c| {
                Box::pin(async move {
                    let taken = take_over(c, limit).await?;
                    Ok(if taken == 0 { Outcome::Undo(0) } else { Outcome::Keep(taken) })
                })
            })
            .await
    }

    async fn fail_hopeless(
        &self,
        interruptions_max: u32,
        limit: u32,
    ) -> Result<Vec<(EventId, FailureReason)>, StoreError> {
        let flow = Arc::clone(&self.flow);
        let (failed, new_events) = self
            .writer
            .write(FAIL, move |c| {
                Box::pin(async move {
                    let answer = fail(c, interruptions_max, limit, &flow).await?;
                    let nothing = answer.0.is_empty();
                    Ok(if nothing { Outcome::Undo(answer) } else { Outcome::Keep(answer) })
                })
            })
            .await?;
        if new_events {
            self.wakeup.send();
        }
        Ok(failed)
    }
}

async fn take_over(connection: &mut SqliteConnection, limit: u32) -> Result<u64, StoreError> {
    const DOING: &str = "take over lost leases";
    let at = micros_of(now());
    let lost: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM outbox_events WHERE status = 'PROCESSING' AND locked_until <= ? \
         LIMIT ?",
    )
    .bind(at)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .doing(DOING)?;
    if lost.is_empty() {
        return Ok(0);
    }
    let lost = json(&lost)?;
    sqlx::query(
        "INSERT INTO outbox_attempts \
         (event_id, kind, attempt, reason, plugin, release_digest, started_at, ended_at) \
         SELECT id, 'lease lost', attempt_count + 1, 'host ' || locked_by || ' was lost', NULL, \
         NULL, updated_at, ?2 FROM outbox_events \
         WHERE position IN (SELECT value FROM json_each(?1))",
    )
    .bind(&lost)
    .bind(at)
    .execute(&mut *connection)
    .await
    .doing(DOING)?;
    let taken = sqlx::query(
        "UPDATE outbox_events SET status = 'RETRYING', next_retry_at = ?2, locked_by = NULL, \
         locked_until = NULL, interruption_count = interruption_count + 1, outcome_unknown = 1, \
         last_error = 'lease lost', updated_at = ?2 \
         WHERE position IN (SELECT value FROM json_each(?1))",
    )
    .bind(&lost)
    .bind(at)
    .execute(connection)
    .await
    .doing(DOING)?;
    Ok(taken.rows_affected())
}

async fn fail(
    connection: &mut SqliteConnection,
    interruptions_max: u32,
    limit: u32,
    flow: &Flow,
) -> Result<(Vec<(EventId, FailureReason)>, bool), StoreError> {
    let at = now();
    let rows = sqlx::query(
        "SELECT *, 'poison' AS code FROM outbox_events \
         WHERE status IN ('PENDING', 'RETRYING') AND interruption_count > 0 \
         AND interruption_count >= ?1 UNION ALL \
         SELECT *, 'expired' AS code FROM outbox_events \
         WHERE status IN ('PENDING', 'RETRYING') AND valid_until IS NOT NULL AND valid_until <= ?2 \
         AND outcome_unknown = 0 AND attempt_count + deferral_count + interruption_count = 0 \
         LIMIT ?3",
    )
    .bind(interruptions_max)
    .bind(micros_of(at))
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .doing(FAIL)?;
    let events = rows.iter().map(row::hopeless).collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Ok((Vec::new(), false));
    }
    let plan = Plan::new(flow, at, facts(connection, &followers(&events)).await?);
    let writes = plan.give_up(&events);
    give_up(connection, &events, micros_of(at)).await?;
    write(connection, &writes, at).await?;
    Ok((events.into_iter().map(|e| (e.id, e.reason)).collect(), !writes.events.is_empty()))
}

async fn give_up(
    connection: &mut SqliteConnection,
    events: &[Hopeless],
    at: i64,
) -> Result<(), StoreError> {
    let rows: Vec<_> =
        events.iter().map(|e| (e.id.to_string(), e.reason.code.as_str(), &e.reason.text)).collect();
    sqlx::query(
        "WITH s AS MATERIALIZED (SELECT value ->> 0 AS event_id, value ->> 1 AS code, \
         value ->> 2 AS text FROM json_each(?1)) \
         UPDATE outbox_events INDEXED BY outbox_events_id SET status = 'FAILED', \
         failure_code = s.code, last_error = s.text, next_retry_at = NULL, updated_at = ?2 \
         FROM s WHERE outbox_events.id = s.event_id \
         AND outbox_events.status IN ('PENDING', 'RETRYING')",
    )
    .bind(json(&rows)?)
    .bind(at)
    .execute(connection)
    .await
    .doing(FAIL)?;
    Ok(())
}
