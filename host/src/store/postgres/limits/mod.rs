//! Claims within limits that hold over all hosts: one transaction, under the plugins' locks.

mod claiming;

use std::sync::Arc;

use async_trait::async_trait;

#[cfg(test)]
pub(in crate::store) use self::claiming::DUE;
use self::claiming::{Claiming, begin, bucket, read};
use super::Postgres;
use crate::domain::{EventId, EventType};
use crate::store::error::Doing;
use crate::store::limiting::{
    Bucket, IDLE_MICROS, LimitStore, LimitedClaim, LimitedPass, RouteLimits, wait_until,
};
use crate::store::row::Columns;
use crate::store::{CLAIM_MAX, Claim, StoreError};

const DOING: &str = "claim events within limits";

#[async_trait]
impl LimitStore for Postgres {
    async fn claim_limited(
        &self,
        request: Claim<'_>,
        limits: Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError> {
        self.pool.limited(DOING, self.claim_within(request, limits)).await
    }

    async fn rate_waits(&self, events: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError> {
        let ids: Vec<_> = events.iter().map(EventId::as_uuid).collect();
        let rows = sqlx::query(
            "SELECT w.event_id, w.plugin, w.rate_key FROM rate_waiting AS w \
             JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
             AND (w.plugin <> '' OR e.available_at > now()) WHERE w.event_id = ANY ($1)",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await
        .doing("read what waits for a rate")?;
        rows.iter()
            .map(|found| {
                let id = read(found.uuid("event_id")).map(EventId::from_uuid)?;
                Ok((id, read(bucket(found))?))
            })
            .collect()
    }

    async fn end_rate_waits(&self, event_type: &EventType, limit: u32) -> Result<u64, StoreError> {
        let ended = sqlx::query(
            "WITH gone AS (DELETE FROM rate_waiting WHERE event_id = ANY (ARRAY (SELECT event_id \
             FROM rate_waiting WHERE event_type = $1 ORDER BY due_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED)) RETURNING event_id, due_at), \
             keys AS (DELETE FROM rate_buckets WHERE event_type = $1), \
             back AS (UPDATE outbox_events AS e SET available_at = gone.due_at, updated_at = now() \
             FROM gone WHERE e.id = gone.event_id AND e.status = 'PENDING') \
             SELECT event_id FROM gone",
        )
        .bind(event_type.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .doing("end waits for a rate")?;
        if !ended.is_empty() {
            self.wakeup.send();
        }
        Ok(ended.len() as u64)
    }

    async fn delete_idle_rates(&self, limit: u32) -> Result<u64, StoreError> {
        let deleted: i64 = sqlx::query_scalar(
            "WITH keys AS (DELETE FROM rate_buckets WHERE ctid = ANY (ARRAY (SELECT ctid \
             FROM rate_buckets WHERE waiting = 0 \
             AND next_at <= now() - $1 * interval '1 microsecond' LIMIT $2 \
             FOR UPDATE SKIP LOCKED)) RETURNING 1), \
             places AS (DELETE FROM rate_waiting WHERE ctid = ANY (ARRAY (SELECT w.ctid \
             FROM rate_waiting AS w WHERE NOT EXISTS (SELECT 1 FROM outbox_events AS e \
             WHERE e.id = w.event_id AND e.status = 'PENDING') LIMIT $2 \
             FOR UPDATE OF w SKIP LOCKED)) RETURNING 1) \
             SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM places)",
        )
        .bind(IDLE_MICROS)
        .bind(i64::from(limit))
        .fetch_one(&self.pool)
        .await
        .doing("forget quiet rates")?;
        Ok(u64::try_from(deleted).unwrap_or(0))
    }
}

impl Postgres {
    async fn claim_within(
        &self,
        request: Claim<'_>,
        limits: Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError> {
        let request = Claim { limit: request.limit.min(CLAIM_MAX), ..request };
        let mut tx = self.pool.begin().await.doing(DOING)?;
        let Some((now, room)) = begin(&mut tx, &request, &*limits).await? else {
            // Before the answer: others wait for the lock.
            tx.rollback().await.doing(DOING)?;
            return Ok(LimitedClaim::default());
        };
        let mut claiming = Claiming { tx: &mut tx, request: &request };
        let mut pass = LimitedPass::new(limits, now.timestamp_micros(), room);
        let (candidates, full) = claiming.candidates(&mut pass).await?;
        let to_the_end = pass.decide(candidates);
        let (claim, events) = claiming.take(&pass, &self.claims).await?;
        if events.len() < pass.taken.len() {
            // The route was paused meanwhile: what was taken out of its place goes back.
            tx.rollback().await.doing(DOING)?;
            return Ok(LimitedClaim::default());
        }
        let put_aside = claiming.keep(&pass).await?;
        let next_in = wait_until(claiming.next_at().await?, pass.now());
        tx.commit().await.doing(DOING)?;
        self.claims.begin(claim, &events);
        Ok(LimitedClaim { events, put_aside, more: full && to_the_end, next_in })
    }
}
