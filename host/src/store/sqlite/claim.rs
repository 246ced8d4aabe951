//! Leases: taken, prolonged, given back.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{EventId, EventType, OutboxEvent};
use crate::store::error::Doing;
use crate::store::row::{self, Columns};
use crate::store::writes::micros;
use crate::store::{CLAIM_MAX, Claim, DispatchStore, LeaseRef, Settled, Settlement, StoreError};

/// The oldest due events of one type, unless it is paused, which is looked up once a claim. One that never began and is past `valid_until` is left to
/// the failure job.
macro_rules! claim_sql {
    ($held:literal) => {
        concat!(
            "UPDATE outbox_events SET status = 'PROCESSING', locked_by = ?4, locked_until = ?5, \
             lease_token = lease_token + 1, updated_at = ?2 \
             WHERE position IN (SELECT position FROM outbox_events AS e \
             WHERE status = 'PENDING' AND event_type = ?1 AND available_at <= ?2 \
             AND NOT EXISTS (SELECT 1 FROM route_controls AS c WHERE c.event_type = ?1 \
             AND c.paused) AND (valid_until IS NULL OR valid_until > ?2 OR outcome_unknown = 1 \
             OR attempt_count + deferral_count + interruption_count > 0) ",
            $held,
            " ORDER BY available_at, position LIMIT ?3) RETURNING *"
        )
    };
}

pub(in crate::store) const CLAIM: &str = claim_sql!("");

/// As [`CLAIM`], but an event is held by any earlier one of its aggregate that is neither DONE nor
/// given up. So at most one of an aggregate is taken.
pub(in crate::store) const CLAIM_IN_ORDER: &str = claim_sql!(
    "AND NOT EXISTS (SELECT 1 FROM outbox_events AS earlier WHERE earlier.status <> 'DONE' \
     AND earlier.skipped_at IS NULL \
     AND earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
     AND earlier.aggregate_type = e.aggregate_type \
     AND earlier.event_type IN (SELECT value FROM json_each(?6)))"
);

#[async_trait]
impl DispatchStore for Sqlite {
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError> {
        const DOING: &str = "claim events";
        let limit = request.limit.min(CLAIM_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let ordered_among = request.ordered_among.iter().map(EventType::as_str).collect::<Vec<_>>();
        let sql = if ordered_among.is_empty() { CLAIM } else { CLAIM_IN_ORDER };
        let ordered_among = json(&ordered_among)?;
        let event_type = request.event_type.as_str().to_owned();
        let host = request.host.as_str().to_owned();
        let lease = micros(request.lease_for);
        let mut rows = self
            .writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    let now = micros_of(now());
                    let rows = sqlx::query(sql)
                        .bind(event_type)
                        .bind(now)
                        .bind(limit)
                        .bind(host)
                        .bind(now.saturating_add(lease))
                        .bind(ordered_among)
                        .fetch_all(c)
                        .await
                        .doing(DOING)?;
                    // A claim that found nothing has nothing to commit.
                    Ok(if rows.is_empty() { Outcome::Undo(rows) } else { Outcome::Keep(rows) })
                })
            })
            .await?;
        // RETURNING promises no order.
        rows.sort_by_cached_key(|r| (r.integer("available_at").ok(), r.integer("position").ok()));
        rows.iter().map(row::event).collect()
    }

    async fn extend(
        &self,
        leases: &[LeaseRef],
        lease_for: Duration,
    ) -> Result<Vec<EventId>, StoreError> {
        const DOING: &str = "prolong leases";
        let leases = lease_json(leases)?;
        let lease_for = micros(lease_for);
        let rows = self
            .writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE outbox_events SET locked_until = ?2 WHERE status = 'PROCESSING' \
                         AND (id, lease_token) IN \
                         (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) RETURNING id",
                    )
                    .bind(leases)
                    .bind(micros_of(now()).saturating_add(lease_for))
                    .fetch_all(c)
                    .await
                    .doing(DOING)
                    .map(Outcome::Keep)
                })
            })
            .await?;
        rows.iter()
            .map(|r| row::field("outbox_events", r.uuid("id")).map(EventId::from_uuid))
            .collect()
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.settle_batch(settlements).await
    }

    async fn release(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        const DOING: &str = "give leases back";
        let leases = lease_json(leases)?;
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE outbox_events SET status = 'PENDING', locked_by = NULL, \
                         locked_until = NULL, updated_at = ?2 WHERE status = 'PROCESSING' \
                         AND (id, lease_token) IN \
                         (SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
                    )
                    .bind(leases)
                    .bind(micros_of(now()))
                    .execute(c)
                    .await
                    .doing(DOING)?;
                    Ok(Outcome::Keep(()))
                })
            })
            .await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeup.subscribe()
    }
}

pub(super) fn lease_json(leases: &[LeaseRef]) -> Result<String, StoreError> {
    json(&leases.iter().map(|l| (l.event.to_string(), l.token.0)).collect::<Vec<_>>())
}
