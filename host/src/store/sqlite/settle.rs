//! Carrying out decisions, a batch in one transaction.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;

use super::write::{facts, json, micros_of, write};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{EventId, FailureCode, Flow, LeaseToken, Timestamp};
use crate::store::batch::{Batch, Concerned, DOING, Held};
use crate::store::error::Doing;
use crate::store::plan::{Plan, Planned};
use crate::store::row::{self, ColumnError, Columns};
use crate::store::writes::{EventUpdate, UnknownAfter, micros};
use crate::store::{LeaseRef, Settled, Settlement, StoreError};

/// The batch is read once, and its rows look their events up: joined the other way round, each
/// batch would cost its square. The index is named because statistics that were taken while
/// nothing was PROCESSING make the planner think that those rows are none.
pub(in crate::store) const SETTLE: &str = "\
    WITH s AS MATERIALIZED (SELECT value ->> 0 AS event_id, value ->> 1 AS token, \
    value ->> 2 AS new_status, value ->> 3 AS attempts, value ->> 4 AS deferrals, \
    value ->> 5 AS unknown, value ->> 6 AS error, value ->> 7 AS code, value ->> 8 AS said, \
    value ->> 9 AS digest, value ->> 10 AS retry_after FROM json_each(?1)) \
    UPDATE outbox_events INDEXED BY outbox_events_id SET status = s.new_status, \
    attempt_count = attempt_count + s.attempts, deferral_count = deferral_count + s.deferrals, \
    outcome_unknown = coalesce(s.unknown, outcome_unknown), \
    last_error = coalesce(s.error, last_error), failure_code = s.code, \
    detail = coalesce(s.said, detail), release_digest = coalesce(s.digest, release_digest), \
    next_retry_at = ?2 + s.retry_after, locked_by = NULL, locked_until = NULL, updated_at = ?2 \
    FROM s WHERE outbox_events.id = s.event_id AND outbox_events.lease_token = s.token \
    AND outbox_events.status = 'PROCESSING' RETURNING id, lease_token";

/// As [`SETTLE`], for verdicts of one release that say nothing but "done": no join, and nothing that
/// may keep its value.
pub(in crate::store) const SETTLE_DONE: &str = "\
    UPDATE outbox_events INDEXED BY outbox_events_id SET status = 'DONE', \
    attempt_count = attempt_count + 1, outcome_unknown = 0, failure_code = NULL, \
    release_digest = coalesce(?3, release_digest), next_retry_at = NULL, \
    locked_by = NULL, locked_until = NULL, updated_at = ?2 \
    WHERE id IN (SELECT value ->> 0 FROM json_each(?1)) \
    AND (id, lease_token) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) \
    AND status = 'PROCESSING' RETURNING id, lease_token";

/// The leases, of those that a withdrawal hangs on, that are held.
const HELD: &str = "SELECT id, lease_token, traceparent FROM outbox_events WHERE status = 'PROCESSING' \
    AND (id, lease_token) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";

impl Sqlite {
    pub(super) async fn settle_batch(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, StoreError> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        let concerned = Concerned::of(&settlements)?;
        let flow = Arc::clone(&self.flow);
        let (answers, new_events) = self
            .writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    settle(c, settlements, &concerned, &flow).await.map(Outcome::Keep)
                })
            })
            .await?;
        if new_events {
            self.wakeup.send();
        }
        Ok(answers)
    }
}

/// Answers for each settlement, and whether new events were written.
async fn settle(
    connection: &mut SqliteConnection,
    settlements: Vec<Settlement>,
    concerned: &Concerned,
    flow: &Flow,
) -> Result<(Vec<Settled>, bool), StoreError> {
    let at = now();
    let held = held(connection, &concerned.leases()).await?;
    let facts = facts(connection, &concerned.withdrawals(&held)).await?;
    let mut plan = Plan::new(flow, at, facts);
    let batch = Batch::plan(settlements, concerned, held, &mut plan);
    let settled = update_events(connection, &batch.planned, at).await?;
    let (writes, answers) = batch.finish(plan, &settled)?;
    write(connection, &writes, at).await?;
    Ok((answers, !writes.events.is_empty()))
}

async fn held(connection: &mut SqliteConnection, leases: &[LeaseRef]) -> Result<Held, StoreError> {
    if leases.is_empty() {
        return Ok(Held::new());
    }
    let leases: Vec<_> = leases.iter().map(|l| (l.event.to_string(), l.token.0)).collect();
    let rows = sqlx::query(HELD).bind(json(&leases)?).fetch_all(connection).await.doing(DOING)?;
    rows.iter()
        .map(|r| {
            let read = lease(r).and_then(|lease| Ok((lease, r.text_or_null("traceparent")?)));
            row::field("outbox_events", read)
        })
        .collect()
}

fn lease(row: &impl Columns) -> Result<LeaseRef, ColumnError> {
    let event = EventId::from_uuid(row.uuid("id")?);
    Ok(LeaseRef { event, token: LeaseToken(row.integer("lease_token")?) })
}

async fn update_events(
    connection: &mut SqliteConnection,
    planned: &[Planned],
    at: Timestamp,
) -> Result<HashSet<LeaseRef>, StoreError> {
    let mut done: BTreeMap<Option<&str>, Vec<(String, i64)>> = BTreeMap::new();
    let mut others = Vec::new();
    for Planned { update, .. } in planned {
        if update.is_plainly_done() {
            let lease = (update.lease.event.to_string(), update.lease.token.0);
            done.entry(update.release_digest.as_deref()).or_default().push(lease);
        } else {
            others.push(update_row(update));
        }
    }
    let mut settled = Vec::with_capacity(planned.len());
    for (digest, leases) in done {
        let query = sqlx::query(SETTLE_DONE)
            .bind(json(&leases)?)
            .bind(micros_of(at))
            .bind(digest.map(str::to_owned));
        settled.extend(query.fetch_all(&mut *connection).await.doing(DOING)?);
    }
    if !others.is_empty() {
        let query = sqlx::query(SETTLE).bind(json(&others)?).bind(micros_of(at));
        settled.extend(query.fetch_all(connection).await.doing(DOING)?);
    }
    settled.iter().map(|r| row::field("outbox_events", lease(r))).collect()
}

fn update_row(update: &EventUpdate) -> impl serde::Serialize + '_ {
    let unknown = match update.unknown {
        UnknownAfter::No => Some(0),
        UnknownAfter::Yes => Some(1),
        UnknownAfter::AsBefore => None,
    };
    (
        update.lease.event.to_string(),
        update.lease.token.0,
        update.status.as_str(),
        update.attempts_added,
        update.deferrals_added,
        unknown,
        &update.last_error,
        update.failure_code.map(FailureCode::as_str),
        &update.detail,
        &update.release_digest,
        update.retry_after.map(micros),
    )
}
