//! Statements that several use cases share. A batch travels as arrays, one a column.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::row::withdrawal_columns;
use crate::domain::{NewEvent, Timestamp, WithdrawalId};
use crate::store::StoreError;
use crate::store::error::Doing;
use crate::store::row::{self, Columns};
use crate::store::writes::{
    ClosingWrite, Facts, HistoryWrite, TransitionWrite, WithdrawalWrite, Writes, storable,
    storable_traceparent,
};

pub(super) fn uuids(ids: &[WithdrawalId]) -> Vec<Uuid> {
    ids.iter().map(WithdrawalId::as_uuid).collect()
}

/// Locks withdrawals until the transaction ends; then reads the time, and what was signed for
/// them. Unknown ids are left out.
pub(super) async fn facts(
    connection: &mut PgConnection,
    ids: &[WithdrawalId],
) -> Result<(Timestamp, Vec<Facts>), StoreError> {
    const DOING: &str = "lock withdrawals";
    if ids.is_empty() {
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await;
        return Ok((now.doing(DOING)?, Vec::new()));
    }
    let ids = uuids(ids);
    let rows = sqlx::query(concat!(
        "SELECT ",
        withdrawal_columns!(),
        ", clock_timestamp() AS now FROM withdrawals WHERE id = ANY($1) ORDER BY id FOR UPDATE"
    ))
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await
    .doing(DOING)?;
    // A statement of its own: whoever signs holds the same lock, and this one must see what they
    // committed while the first waited.
    let hashes = sqlx::query(
        "SELECT DISTINCT ON (withdrawal_id) withdrawal_id, hash FROM signed_transactions \
         WHERE withdrawal_id = ANY($1) ORDER BY withdrawal_id, id DESC",
    )
    .bind(&ids)
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    let hashes = hashes.iter().map(|r| Ok((r.uuid("withdrawal_id")?, r.text("hash")?)));
    let mut hashes: HashMap<_, _> =
        row::field("signed_transactions", hashes.collect::<Result<_, _>>())?;
    let mut now = Timestamp::UNIX_EPOCH;
    let mut facts = Vec::with_capacity(rows.len());
    for found in &rows {
        now = now.max(row::field("withdrawals", found.time("now"))?);
        let withdrawal = row::withdrawal(found)?;
        let newest_hash = hashes.remove(&withdrawal.id.as_uuid());
        facts.push(Facts { withdrawal, newest_hash });
    }
    Ok((now, facts))
}

pub(super) async fn write(
    connection: &mut PgConnection,
    writes: &Writes,
) -> Result<(), StoreError> {
    if !writes.withdrawals.is_empty() {
        update_withdrawals(connection, &writes.withdrawals).await?;
        clear_waits(connection, &writes.withdrawals).await?;
    }
    if !writes.transitions.is_empty() {
        insert_transitions(connection, &writes.transitions).await?;
    }
    for closing in &writes.closings {
        insert_closing(connection, closing).await?;
    }
    if !writes.events.is_empty() {
        insert_events(connection, &writes.events).await?;
    }
    if !writes.history.is_empty() {
        insert_history(connection, &writes.history).await?;
    }
    Ok(())
}

/// One array a column of something.
fn column<T, C>(rows: &[T], of: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

async fn update_withdrawals(
    connection: &mut PgConnection,
    writes: &[WithdrawalWrite],
) -> Result<(), StoreError> {
    const DOING: &str = "change withdrawals";
    // The guards repeat what the plan found: the status, and that nothing was signed for one that
    // fails without evidence from the chain.
    let written = sqlx::query(
        "UPDATE withdrawals AS w SET status = s.status, tx_hash = s.tx_hash, \
         failure_reason = s.reason, broadcasted_at = s.broadcasted_at, \
         confirmed_at = s.confirmed_at, updated_at = s.updated_at \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], \
         $6::timestamptz[], $7::timestamptz[], $8::timestamptz[]) \
         AS s (id, before, status, tx_hash, reason, broadcasted_at, confirmed_at, updated_at) \
         WHERE w.id = s.id AND w.status = s.before \
         AND (s.status <> 'FAILED' OR s.tx_hash IS NOT NULL OR NOT EXISTS \
           (SELECT 1 FROM signed_transactions AS t WHERE t.withdrawal_id = w.id))",
    )
    .bind(column(writes, |w| w.withdrawal.id.as_uuid()))
    .bind(column(writes, |w| w.from.as_str()))
    .bind(column(writes, |w| w.withdrawal.state.status().as_str()))
    .bind(column(writes, |w| w.withdrawal.state.tx_hash().map(str::to_owned)))
    .bind(column(writes, |w| w.withdrawal.state.failure_reason().map(storable)))
    .bind(column(writes, |w| w.withdrawal.state.broadcasted_at()))
    .bind(column(writes, |w| w.withdrawal.state.confirmed_at()))
    .bind(column(writes, |w| w.withdrawal.updated_at))
    .execute(connection)
    .await
    .doing(DOING)?;
    if written.rows_affected() != writes.len() as u64 {
        return Err(StoreError::conflict(DOING, "one is not as it was read"));
    }
    Ok(())
}

/// What has ended waits for nothing.
async fn clear_waits(
    connection: &mut PgConnection,
    writes: &[WithdrawalWrite],
) -> Result<(), StoreError> {
    let ended = writes.iter().filter(|w| w.withdrawal.state.is_end());
    let ended: Vec<_> = ended.map(|w| w.withdrawal.id.as_uuid()).collect();
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM withdrawal_waits WHERE withdrawal_id = ANY($1)")
        .bind(ended)
        .execute(connection)
        .await
        .doing("forget what withdrawals waited for")?;
    Ok(())
}

async fn insert_transitions(
    connection: &mut PgConnection,
    transitions: &[TransitionWrite],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO withdrawal_transitions \
         (withdrawal_id, from_status, to_status, tx_hash, reason, evidence, created_at) \
         SELECT s.id, s.from_status, s.to_status, s.tx_hash, s.reason, s.evidence::json, now() \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
         WITH ORDINALITY AS s (id, from_status, to_status, tx_hash, reason, evidence, n) \
         ORDER BY s.n",
    )
    .bind(column(transitions, |t| t.withdrawal.as_uuid()))
    .bind(column(transitions, |t| t.from.as_str()))
    .bind(column(transitions, |t| t.to.as_str()))
    .bind(column(transitions, |t| t.tx_hash.clone()))
    .bind(column(transitions, |t| t.reason.clone()))
    .bind(column(transitions, |t| t.evidence.clone()))
    .execute(connection)
    .await
    .doing("write a withdrawal's history")?;
    Ok(())
}

/// The first reason stays.
async fn insert_closing(
    connection: &mut PgConnection,
    closing: &ClosingWrite,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO withdrawal_closings (withdrawal_id, reason, asked_by, asked_at) \
         VALUES ($1, $2, $3, now()) ON CONFLICT DO NOTHING",
    )
    .bind(closing.withdrawal.as_uuid())
    .bind(&closing.reason)
    .bind(&closing.asked_by)
    .execute(connection)
    .await
    .doing("give a payment up")?;
    Ok(())
}

pub(super) async fn insert_events(
    connection: &mut PgConnection,
    events: &[NewEvent],
) -> Result<(), StoreError> {
    // Positions are given in the order of the sort.
    sqlx::query(
        "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
         idempotency_key, available_at, valid_until, traceparent) \
         SELECT s.id, s.aggregate_type, s.aggregate_id, s.event_type, s.payload::json, s.key, \
         coalesce(s.available_at, now()), s.valid_until, s.traceparent \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], \
         $7::timestamptz[], $8::timestamptz[], $9::text[]) WITH ORDINALITY AS s (id, \
         aggregate_type, aggregate_id, event_type, payload, key, available_at, valid_until, \
         traceparent, n) ORDER BY s.n",
    )
    .bind(column(events, |e| e.id.as_uuid()))
    .bind(column(events, |e| e.aggregate.kind().to_owned()))
    .bind(column(events, |e| e.aggregate.id().to_owned()))
    .bind(column(events, |e| e.event_type.as_str().to_owned()))
    .bind(column(events, |e| e.payload.clone()))
    .bind(column(events, |e| e.idempotency_key))
    .bind(column(events, |e| e.available_at))
    .bind(column(events, |e| e.valid_until))
    .bind(column(events, |e| storable_traceparent(e.traceparent.as_deref())))
    .execute(connection)
    .await
    .doing("write events")?;
    Ok(())
}

async fn insert_history(
    connection: &mut PgConnection,
    history: &[HistoryWrite],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox_attempts \
         (event_id, kind, attempt, reason, plugin, release_digest, started_at, ended_at) \
         SELECT s.event, s.kind, s.attempt, s.reason, nullif(s.plugin, ''), \
         nullif(s.digest, ''), s.started_at, s.ended_at \
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], \
         $7::timestamptz[], $8::timestamptz[]) WITH ORDINALITY \
         AS s (event, kind, attempt, reason, plugin, digest, started_at, ended_at, n) \
         ORDER BY s.n",
    )
    .bind(column(history, |h| h.event.as_uuid()))
    .bind(column(history, |h| h.kind.as_str()))
    .bind(column(history, |h| i64::from(h.attempt.number)))
    .bind(column(history, |h| h.reason.clone()))
    .bind(column(history, |h| storable(&h.attempt.plugin)))
    .bind(column(history, |h| storable(&h.attempt.release_digest)))
    .bind(column(history, |h| h.attempt.started_at))
    .bind(column(history, |h| h.attempt.started_at + h.attempt.duration))
    .execute(connection)
    .await
    .doing("write an event's history")?;
    Ok(())
}
