//! Statements that several use cases share. A batch travels as one JSON parameter.

use sqlx::sqlite::SqliteConnection;

use super::now;
use crate::domain::{NewEvent, Timestamp, Withdrawal, WithdrawalId};
use crate::store::StoreError;
use crate::store::error::Doing;
use crate::store::policies::clear;
use crate::store::row::{self, Columns};
use crate::store::writes::{
    ClosingWrite, Facts, HistoryWrite, TransitionWrite, WithdrawalWrite, Writes, storable,
    storable_traceparent,
};

/// Rows as a JSON array of arrays.
pub(super) fn json<T: serde::Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|e| StoreError::conflict("write rows", e.to_string()))
}

pub(super) fn micros_of(time: Timestamp) -> i64 {
    time.timestamp_micros()
}

/// The withdrawals and what was signed for them. The writer is alone, so nothing changes until the
/// job ends. Unknown ids are left out.
pub(super) async fn facts(
    connection: &mut SqliteConnection,
    ids: &[WithdrawalId],
) -> Result<Vec<Facts>, StoreError> {
    const DOING: &str = "read withdrawals";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query(
        "SELECT *, (SELECT hash FROM signed_transactions WHERE withdrawal_id = withdrawals.id \
         ORDER BY signed_transactions.id DESC LIMIT 1) AS newest_hash \
         FROM withdrawals WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(json(&ids)?)
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    rows.iter()
        .map(|found| {
            let newest_hash = row::field("signed_transactions", found.text_or_null("newest_hash"))?;
            Ok(Facts { withdrawal: row::withdrawal(found)?, newest_hash })
        })
        .collect()
}

pub(super) async fn write(
    connection: &mut SqliteConnection,
    writes: &Writes,
    at: Timestamp,
) -> Result<(), StoreError> {
    for write in &writes.withdrawals {
        update_withdrawal(connection, write).await?;
        if write.withdrawal.state.is_end() {
            clear(connection, write.withdrawal.id).await?;
        }
    }
    if !writes.transitions.is_empty() {
        insert_transitions(connection, &writes.transitions, at).await?;
    }
    for closing in &writes.closings {
        insert_closing(connection, closing, at).await?;
    }
    if !writes.events.is_empty() {
        insert_events(connection, &writes.events.iter().collect::<Vec<_>>()).await?;
    }
    if !writes.history.is_empty() {
        insert_history(connection, &writes.history).await?;
    }
    Ok(())
}

/// Withdrawals, each with who handed it in.
pub(super) async fn insert_withdrawals(
    connection: &mut SqliteConnection,
    withdrawals: &[(&Withdrawal, &str)],
) -> Result<(), StoreError> {
    let rows: Vec<_> = withdrawals
        .iter()
        .map(|(withdrawal, requested_by)| {
            let Withdrawal { id, request, state, requested_at, created_at, updated_at } =
                withdrawal;
            (
                id.to_string(),
                &request.user_id,
                &request.asset,
                request.network.as_str(),
                request.amount.to_string(),
                &request.destination_address,
                state.status().as_str(),
                micros_of(*requested_at),
                micros_of(*created_at),
                micros_of(*updated_at),
                requested_by,
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO withdrawals (id, user_id, asset, network, amount, destination_address, \
         status, requested_at, created_at, updated_at, requested_by) SELECT value ->> 0, value ->> 1, \
         value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
         value ->> 8, value ->> 9, value ->> 10 FROM json_each(?1)",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await
    .doing("accept a withdrawal")?;
    Ok(())
}

async fn update_withdrawal(
    connection: &mut SqliteConnection,
    write: &WithdrawalWrite,
) -> Result<(), StoreError> {
    const DOING: &str = "change a withdrawal";
    let state = &write.withdrawal.state;
    // The guards repeat what the plan found: the status, and that nothing was signed for one that
    // fails without evidence from the chain.
    let written = sqlx::query(
        "UPDATE withdrawals SET status = ?1, tx_hash = ?2, failure_reason = ?3, \
         broadcasted_at = ?4, confirmed_at = ?5, updated_at = ?6 WHERE id = ?7 AND status = ?8 \
         AND (?1 <> 'FAILED' OR ?2 IS NOT NULL OR NOT EXISTS \
           (SELECT 1 FROM signed_transactions WHERE withdrawal_id = withdrawals.id))",
    )
    .bind(state.status().as_str())
    .bind(state.tx_hash())
    .bind(state.failure_reason().map(storable))
    .bind(state.broadcasted_at().map(micros_of))
    .bind(state.confirmed_at().map(micros_of))
    .bind(micros_of(write.withdrawal.updated_at))
    .bind(write.withdrawal.id.to_string())
    .bind(write.from.as_str())
    .execute(connection)
    .await
    .doing(DOING)?;
    if written.rows_affected() != 1 {
        return Err(StoreError::conflict(DOING, "it is not as it was read"));
    }
    Ok(())
}

async fn insert_transitions(
    connection: &mut SqliteConnection,
    transitions: &[TransitionWrite],
    at: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = transitions
        .iter()
        .map(|t| {
            let id = t.withdrawal.to_string();
            (id, t.from.as_str(), t.to.as_str(), &t.tx_hash, &t.reason, &t.evidence)
        })
        .collect();
    sqlx::query(
        "INSERT INTO withdrawal_transitions \
         (withdrawal_id, from_status, to_status, tx_hash, reason, evidence, created_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, ?2 \
         FROM json_each(?1) ORDER BY key",
    )
    .bind(json(&rows)?)
    .bind(micros_of(at))
    .execute(connection)
    .await
    .doing("write a withdrawal's history")?;
    Ok(())
}

/// The first reason stays.
async fn insert_closing(
    connection: &mut SqliteConnection,
    closing: &ClosingWrite,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO withdrawal_closings (withdrawal_id, reason, asked_by, asked_at) \
         VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(closing.withdrawal.to_string())
    .bind(&closing.reason)
    .bind(&closing.asked_by)
    .bind(micros_of(at))
    .execute(connection)
    .await
    .doing("give a payment up")?;
    Ok(())
}

pub(super) async fn insert_events(
    connection: &mut SqliteConnection,
    events: &[&NewEvent],
) -> Result<(), StoreError> {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.id.to_string(),
                event.aggregate.kind(),
                event.aggregate.id(),
                event.event_type.as_str(),
                &event.payload,
                event.idempotency_key.to_string(),
                event.available_at.map(micros_of),
                event.valid_until.map(micros_of),
                storable_traceparent(event.traceparent.as_deref()),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
         idempotency_key, available_at, valid_until, traceparent, created_at, updated_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
         coalesce(value ->> 6, ?2), value ->> 7, value ->> 8, ?2, ?2 \
         FROM json_each(?1) ORDER BY key",
    )
    .bind(json(&rows)?)
    .bind(micros_of(now()))
    .execute(connection)
    .await
    .doing("write events")?;
    Ok(())
}

async fn insert_history(
    connection: &mut SqliteConnection,
    history: &[HistoryWrite],
) -> Result<(), StoreError> {
    let rows: Vec<_> = history
        .iter()
        .map(|line| {
            let attempt = &line.attempt;
            (
                line.event.to_string(),
                line.kind.as_str(),
                attempt.number,
                &line.reason,
                &attempt.plugin,
                &attempt.release_digest,
                micros_of(attempt.started_at),
                micros_of(attempt.started_at + attempt.duration),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO outbox_attempts \
         (event_id, kind, attempt, reason, plugin, release_digest, started_at, ended_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, nullif(value ->> 4, ''), \
         nullif(value ->> 5, ''), value ->> 6, value ->> 7 FROM json_each(?1) ORDER BY key",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await
    .doing("write an event's history")?;
    Ok(())
}
