//! Carrying out decisions: one statement a batch for the events, and more only for what follows.

use std::collections::HashSet;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::Postgres;
use super::claim::{BY_KEY, columns};
use super::write::{facts, write};
use crate::domain::{EventId, FailureCode, LeaseToken};
use crate::store::batch::{Batch, Concerned, DOING, Held};
use crate::store::error::Doing;
use crate::store::plan::{Plan, Planned};
use crate::store::row::{self, ColumnError, Columns};
use crate::store::writes::{EventUpdate, UnknownAfter, micros};
use crate::store::{LeaseRef, Settled, Settlement, StoreError};

/// What fences a verdict: the token of its lease. A host that was held up and lost its lease has an
/// older one than the row. The crash harness is built once without it, to see that it would notice.
/// There is no such build of SQLite's statement, for its store has one host only.
///
/// Only what is PROCESSING is locked by anybody. It says `locked_by`, for the planner takes a status
/// that its statistics have not seen for no rows at all, and then compares each with each.
#[cfg(not(feature = "unfenced"))]
macro_rules! lease_is_held {
    () => {
        "e.id = s.id AND e.lease_token = s.token AND e.locked_by IS NOT NULL"
    };
}
#[cfg(feature = "unfenced")]
macro_rules! lease_is_held {
    () => {
        "e.id = s.id AND e.locked_by IS NOT NULL"
    };
}

pub(in crate::store) const SETTLE: &str = concat!(
    "UPDATE outbox_events AS e SET status = s.status, \
     attempt_count = e.attempt_count + s.attempts, \
     deferral_count = e.deferral_count + s.deferrals, \
     outcome_unknown = coalesce(s.unknown, e.outcome_unknown), \
     last_error = coalesce(s.error, e.last_error), failure_code = s.code, \
     detail = coalesce(s.said, e.detail), \
     release_digest = coalesce(s.digest, e.release_digest), \
     next_retry_at = now() + s.retry_after * interval '1 microsecond', \
     done_at = CASE WHEN s.status = 'DONE' THEN now() END, \
     locked_by = NULL, locked_until = NULL, updated_at = now() \
     FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::int[], $5::int[], $6::bool[], \
     $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[]) AS s (id, token, status, \
     attempts, deferrals, unknown, error, code, said, digest, retry_after) \
     WHERE ",
    lease_is_held!(),
    " RETURNING e.id, s.token AS lease_token"
);

/// As [`SETTLE`], for verdicts that say nothing but "done".
pub(in crate::store) const SETTLE_DONE: &str = concat!(
    "WITH done AS (UPDATE outbox_events AS e SET status = 'DONE', \
     attempt_count = e.attempt_count + 1, outcome_unknown = false, failure_code = NULL, \
     release_digest = coalesce(s.digest, e.release_digest), next_retry_at = NULL, \
     done_at = now(), locked_by = NULL, locked_until = NULL, updated_at = now() \
     FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS s (id, token, digest) WHERE ",
    lease_is_held!(),
    " RETURNING e.id, s.token) SELECT coalesce(array_agg(id), '{}') AS ids, \
     coalesce(array_agg(token), '{}') AS tokens FROM done"
);

/// Locks the leases that a withdrawal hangs on, if they are held.
const HELD: &str = concat!(
    "SELECT e.id, s.token AS lease_token, e.traceparent FROM outbox_events AS e \
     JOIN unnest($1::uuid[], $2::bigint[]) AS s (id, token) ON ",
    lease_is_held!(),
    " ORDER BY e.id FOR UPDATE OF e"
);

impl Postgres {
    pub(super) async fn settle_batch(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, StoreError> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        let concerned = Concerned::of(&settlements)?;
        let ended: Vec<_> = settlements.iter().map(|settlement| settlement.lease).collect();
        let leases = concerned.leases();
        let mut tx = self.pool.begin_with(BY_KEY).await.doing(DOING)?;
        let (mut held_leases, mut now, mut found) =
            (Held::new(), chrono::DateTime::UNIX_EPOCH, Vec::new());
        if !leases.is_empty() {
            held_leases = held(&mut tx, &leases).await?;
            (now, found) = facts(&mut tx, &concerned.withdrawals(&held_leases)).await?;
        }
        let mut plan = Plan::new(&self.flow, now, found);
        let batch = Batch::plan(settlements, &concerned, held_leases, &mut plan);
        let settled = update_events(&mut tx, &batch.planned).await?;
        let (writes, answers) = batch.finish(plan, &settled)?;
        write(&mut tx, &writes).await?;
        tx.commit().await.doing(DOING)?;
        self.claims.end(&ended);
        if !writes.events.is_empty() {
            self.wakeup.send();
        }
        Ok(answers)
    }
}

async fn held(connection: &mut PgConnection, leases: &[LeaseRef]) -> Result<Held, StoreError> {
    let (ids, tokens) = columns(leases);
    let rows = sqlx::query(HELD).bind(ids).bind(tokens).fetch_all(connection).await.doing(DOING)?;
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

/// One statement, for whichever reason: two would lock the rows of a batch in an order of their own.
async fn update_events(
    connection: &mut PgConnection,
    planned: &[Planned],
) -> Result<HashSet<LeaseRef>, StoreError> {
    if planned.iter().all(|plan| plan.update.is_plainly_done()) {
        return update_done(connection, planned).await;
    }
    fn column<C>(planned: &[Planned], of: impl Fn(&EventUpdate) -> C) -> Vec<C> {
        planned.iter().map(|plan| of(&plan.update)).collect()
    }
    let settled = sqlx::query(SETTLE)
        .bind(column(planned, |u| u.lease.event.as_uuid()))
        .bind(column(planned, |u| u.lease.token.0))
        .bind(column(planned, |u| u.status.as_str()))
        .bind(column(planned, |u| u.attempts_added))
        .bind(column(planned, |u| u.deferrals_added))
        .bind(column(planned, |u| match u.unknown {
            UnknownAfter::No => Some(false),
            UnknownAfter::Yes => Some(true),
            UnknownAfter::AsBefore => None,
        }))
        .bind(column(planned, |u| u.last_error.clone()))
        .bind(column(planned, |u| u.failure_code.map(FailureCode::as_str)))
        .bind(column(planned, |u| u.detail.clone()))
        .bind(column(planned, |u| u.release_digest.clone()))
        .bind(column(planned, |u| u.retry_after.map(micros)))
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    settled.iter().map(|r| row::field("outbox_events", lease(r))).collect()
}

async fn update_done(
    connection: &mut PgConnection,
    planned: &[Planned],
) -> Result<HashSet<LeaseRef>, StoreError> {
    let updates = || planned.iter().map(|plan| &plan.update);
    let (ids, tokens): (Vec<Uuid>, Vec<i64>) = sqlx::query_as(SETTLE_DONE)
        .bind(updates().map(|u| u.lease.event.as_uuid()).collect::<Vec<_>>())
        .bind(updates().map(|u| u.lease.token.0).collect::<Vec<_>>())
        .bind(updates().map(|u| u.release_digest.as_deref()).collect::<Vec<_>>())
        .fetch_one(connection)
        .await
        .doing(DOING)?;
    let lease = |(id, token)| LeaseRef { event: EventId::from_uuid(id), token: LeaseToken(token) };
    Ok(ids.into_iter().zip(tokens).map(lease).collect())
}
