//! Claims within limits. There is one writer, so its turn is the lock.

mod claiming;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use self::claiming::{Claiming, bucket, read, room};
#[cfg(test)]
pub(in crate::store) use self::claiming::{DUE, KEYS};
use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::{EventId, EventType};
use crate::store::error::Doing;
use crate::store::limiting::{
    Bucket, IDLE_MICROS, LimitStore, LimitedClaim, LimitedPass, RouteLimits, wait_until,
};
use crate::store::row::Columns;
use crate::store::{Claim, StoreError};

const DOING: &str = "claim events within limits";

#[async_trait]
impl LimitStore for Sqlite {
    async fn claim_limited(
        &self,
        request: Claim<'_>,
        limits: Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError> {
        let claiming = Claiming::new(&request)?;
        self.writer
            .write(DOING, move |c| Box::pin(async move { claim(c, &claiming, limits).await }))
            .await
    }

    async fn rate_waits(&self, events: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError> {
        let ids: Vec<_> = events.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(
            "SELECT w.event_id, w.plugin, w.rate_key FROM rate_waiting AS w \
             JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
             AND (w.plugin <> '' OR e.available_at > ?2) WHERE w.event_id IN (SELECT value FROM json_each(?1))",
        )
        .bind(json(&ids)?)
        .bind(micros_of(now()))
        .fetch_all(&self.reads)
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
        let event_type = event_type.as_str().to_owned();
        let ended = self
            .writer
            .write("end waits for a rate", move |c| {
                Box::pin(async move { end_waits(c, &event_type, limit).await })
            })
            .await?;
        if ended > 0 {
            self.wakeup.send();
        }
        Ok(ended)
    }

    async fn delete_idle_rates(&self, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .write("forget quiet rates", move |c| {
                Box::pin(async move { delete_idle(c, limit).await })
            })
            .await
    }
}

async fn claim(
    connection: &mut SqliteConnection,
    claiming: &Claiming,
    limits: Arc<dyn RouteLimits>,
) -> Result<Outcome<LimitedClaim>, StoreError> {
    let room = room(connection, claiming, &*limits).await?;
    if room == 0 {
        return Ok(Outcome::Undo(LimitedClaim::default()));
    }
    let mut pass = LimitedPass::new(limits, micros_of(now()), room);
    let (candidates, full) = claiming.candidates(connection, &mut pass).await?;
    let to_the_end = pass.decide(candidates);
    let events = claiming.take(connection, &pass).await?;
    let put_aside = claiming.keep(connection, &pass).await?;
    let next_in = wait_until(claiming.next_at(connection).await?, pass.now());
    let claimed = LimitedClaim { events, put_aside, more: full && to_the_end, next_in };
    Ok(Outcome::Keep(claimed))
}

async fn end_waits(
    connection: &mut SqliteConnection,
    event_type: &str,
    limit: u32,
) -> Result<Outcome<u64>, StoreError> {
    const DOING: &str = "end waits for a rate";
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT event_id FROM rate_waiting WHERE event_type = ?1 ORDER BY due_at LIMIT ?2",
    )
    .bind(event_type)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .doing(DOING)?;
    let forgotten = sqlx::query("DELETE FROM rate_buckets WHERE event_type = ?")
        .bind(event_type)
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    if ids.is_empty() {
        let nothing = forgotten.rows_affected() == 0;
        return Ok(if nothing { Outcome::Undo(0) } else { Outcome::Keep(0) });
    }
    let ended = json(&ids)?;
    sqlx::query(
        "WITH gone AS MATERIALIZED (SELECT event_id, due_at FROM rate_waiting \
         WHERE event_id IN (SELECT value FROM json_each(?1))) \
         UPDATE outbox_events INDEXED BY outbox_events_id SET available_at = gone.due_at, \
         updated_at = ?2 FROM gone WHERE outbox_events.id = gone.event_id \
         AND outbox_events.status = 'PENDING'",
    )
    .bind(&ended)
    .bind(micros_of(now()))
    .execute(&mut *connection)
    .await
    .doing(DOING)?;
    sqlx::query("DELETE FROM rate_waiting WHERE event_id IN (SELECT value FROM json_each(?))")
        .bind(&ended)
        .execute(connection)
        .await
        .doing(DOING)?;
    Ok(Outcome::Keep(ids.len() as u64))
}

async fn delete_idle(
    connection: &mut SqliteConnection,
    limit: u32,
) -> Result<Outcome<u64>, StoreError> {
    const DOING: &str = "forget quiet rates";
    let keys = sqlx::query(
        "DELETE FROM rate_buckets WHERE (event_type, plugin, rate_key) IN \
         (SELECT event_type, plugin, rate_key FROM rate_buckets \
         WHERE waiting = 0 AND next_at <= ?1 LIMIT ?2)",
    )
    .bind(micros_of(now()).saturating_sub(IDLE_MICROS))
    .bind(limit)
    .execute(&mut *connection)
    .await
    .doing(DOING)?;
    let places = sqlx::query(
        "DELETE FROM rate_waiting WHERE event_id IN (SELECT w.event_id FROM rate_waiting AS w \
         WHERE NOT EXISTS (SELECT 1 FROM outbox_events AS e WHERE e.id = w.event_id \
         AND e.status = 'PENDING') LIMIT ?)",
    )
    .bind(limit)
    .execute(connection)
    .await
    .doing(DOING)?;
    let deleted = keys.rows_affected() + places.rows_affected();
    Ok(if deleted == 0 { Outcome::Undo(0) } else { Outcome::Keep(deleted) })
}
