//! The statements of a claim within limits, in the order in which they are made.

use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::now;
use super::super::write::{json, micros_of};
use super::DOING;
use crate::domain::{EventId, EventType, OutboxEvent};
use crate::store::error::Doing;
use crate::store::limiting::{Bucket, Candidate, Kept, LimitedPass, RouteLimits};
use crate::store::row::{self, ColumnError, Columns};
use crate::store::writes::micros;
use crate::store::{CLAIM_MAX, Claim, StoreError};

/// What a claim passes over: what the failure job will fail, and what an ordered route holds. `?2` is
/// now, `?3` what the order is kept among.
macro_rules! claimable {
    () => {
        "e.status = 'PENDING' AND e.event_type = ?1 AND (e.valid_until IS NULL \
         OR e.valid_until > ?2 OR e.outcome_unknown = 1 \
         OR e.attempt_count + e.deferral_count + e.interruption_count > 0) \
         AND (?3 = '[]' OR NOT EXISTS (SELECT 1 FROM outbox_events AS earlier \
         WHERE earlier.status <> 'DONE' AND earlier.skipped_at IS NULL \
         AND earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
         AND earlier.aggregate_type = e.aggregate_type \
         AND earlier.event_type IN (SELECT value FROM json_each(?3))))"
    };
}

pub(in crate::store) const DUE: &str = concat!(
    "SELECT e.id, e.available_at, e.payload FROM outbox_events AS e \
     INDEXED BY outbox_events_pending WHERE ",
    claimable!(),
    " AND e.available_at <= ?2 ORDER BY e.available_at, e.position LIMIT ?4"
);

const WAITING: &str = concat!(
    "SELECT e.id, w.due_at, w.plugin, w.rate_key FROM rate_waiting AS w \
     INDEXED BY rate_waiting_of CROSS JOIN outbox_events AS e ON e.id = w.event_id \
     WHERE w.event_type = ?1 AND w.plugin = ?5 AND w.rate_key = ?6 AND ",
    claimable!(),
    " ORDER BY w.due_at, w.event_id LIMIT ?4"
);

/// The keys that have room, and something that waits for it, the longest free first; and those
/// whose time is further away than it can be, which are corrected.
pub(in crate::store) const KEYS: &str = "SELECT * FROM (SELECT plugin, rate_key, next_at, waiting \
    FROM rate_buckets WHERE event_type = ?1 AND waiting > 0 AND next_at <= ?2 \
    ORDER BY next_at LIMIT ?4) UNION ALL SELECT * FROM (SELECT plugin, rate_key, next_at, waiting \
    FROM rate_buckets WHERE event_type = ?1 AND waiting > 0 AND next_at > ?3 \
    ORDER BY next_at DESC LIMIT ?4)";

/// Its time goes back to what it was, so that it is due at once if it is given back.
const TAKE: &str = "\
    WITH s AS MATERIALIZED (SELECT value ->> 0 AS event_id, value ->> 1 AS due_at \
    FROM json_each(?1)) UPDATE outbox_events INDEXED BY outbox_events_id \
    SET status = 'PROCESSING', locked_by = ?2, locked_until = ?4, \
    lease_token = lease_token + 1, available_at = s.due_at, updated_at = ?3 FROM s \
    WHERE outbox_events.id = s.event_id AND outbox_events.status = 'PENDING' \
    RETURNING *";

/// What is asked for, without borrows.
pub(super) struct Claiming {
    event_type: String,
    host: String,
    limit: u32,
    lease_micros: i64,
    ordered_among: String,
}

impl Claiming {
    pub(super) fn new(request: &Claim<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            event_type: request.event_type.as_str().to_owned(),
            host: request.host.as_str().to_owned(),
            limit: request.limit.min(CLAIM_MAX),
            lease_micros: micros(request.lease_for),
            ordered_among: names(request.ordered_among)?,
        })
    }

    /// What waits and may go, and what is due; and whether there may be more that is due.
    pub(super) async fn candidates(
        &self,
        connection: &mut SqliteConnection,
        pass: &mut LimitedPass,
    ) -> Result<(Vec<Candidate>, bool), StoreError> {
        let mut candidates = self.waiting(connection, pass).await?;
        let look = pass.look();
        let rows = sqlx::query(DUE)
            .bind(&self.event_type)
            .bind(pass.now())
            .bind(&self.ordered_among)
            .bind(look)
            .fetch_all(&mut *connection)
            .await
            .doing(DOING)?;
        for found in &rows {
            let payload = read(found.text("payload"))?;
            candidates.push(Candidate {
                event: read(found.uuid("id")).map(EventId::from_uuid)?,
                due_at: read(found.time("available_at"))?,
                bucket: pass.bucket(&payload),
                waited: false,
            });
        }
        for bucket in pass.unknown(&candidates) {
            let found = sqlx::query(
                "SELECT plugin, rate_key, next_at, waiting FROM rate_buckets \
                 WHERE event_type = ?1 AND plugin = ?2 AND rate_key = ?3",
            )
            .bind(&self.event_type)
            .bind(&bucket.plugin)
            .bind(&bucket.key)
            .fetch_optional(&mut *connection)
            .await
            .doing(DOING)?;
            if let Some(found) = found {
                let (bucket, kept) = read(kept(&found))?;
                pass.know(bucket, kept);
            }
        }
        Ok((candidates, rows.len() >= look as usize))
    }

    async fn waiting(
        &self,
        connection: &mut SqliteConnection,
        pass: &mut LimitedPass,
    ) -> Result<Vec<Candidate>, StoreError> {
        let rows = sqlx::query(KEYS)
            .bind(&self.event_type)
            .bind(pass.now())
            .bind(pass.next_at_max())
            .bind(pass.room())
            .fetch_all(&mut *connection)
            .await
            .doing(DOING)?;
        let due = rows.iter().map(|r| read(kept(r))).collect::<Result<Vec<_>, _>>()?;
        let mut waiting = Vec::new();
        for (bucket, count) in pass.let_go(due) {
            let rows = sqlx::query(WAITING)
                .bind(&self.event_type)
                .bind(pass.now())
                .bind(&self.ordered_among)
                .bind(count)
                .bind(&bucket.plugin)
                .bind(&bucket.key)
                .fetch_all(&mut *connection)
                .await
                .doing(DOING)?;
            if rows.is_empty() {
                self.count_again(connection, &bucket).await?;
            }
            for found in &rows {
                waiting.push(read(waited(found))?);
            }
        }
        Ok(waiting)
    }

    /// A key of which nobody could go: those who waited may have been cancelled, or have expired.
    async fn count_again(
        &self,
        connection: &mut SqliteConnection,
        bucket: &Bucket,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE rate_buckets SET waiting = (SELECT count(*) FROM rate_waiting AS w \
             JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
             WHERE w.event_type = ?1 AND w.plugin = ?2 AND w.rate_key = ?3) \
             WHERE event_type = ?1 AND plugin = ?2 AND rate_key = ?3",
        )
        .bind(&self.event_type)
        .bind(&bucket.plugin)
        .bind(&bucket.key)
        .execute(connection)
        .await
        .doing(DOING)?;
        Ok(())
    }

    pub(super) async fn take(
        &self,
        connection: &mut SqliteConnection,
        pass: &LimitedPass,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        if pass.taken.is_empty() {
            return Ok(Vec::new());
        }
        let taken: Vec<_> = pass
            .taken
            .iter()
            .map(|(event, due_at)| (event.to_string(), micros_of(*due_at)))
            .collect();
        let at = micros_of(now());
        let mut rows = sqlx::query(TAKE)
            .bind(json(&taken)?)
            .bind(&self.host)
            .bind(at)
            .bind(at.saturating_add(self.lease_micros))
            .fetch_all(connection)
            .await
            .doing(DOING)?;
        rows.sort_by_key(|r| (r.integer("available_at").ok(), r.integer("position").ok()));
        rows.iter().map(row::event).collect()
    }

    /// Writes what a pass decided beside what it took. Answers how many got a place now.
    pub(super) async fn keep(
        &self,
        connection: &mut SqliteConnection,
        pass: &LimitedPass,
    ) -> Result<u32, StoreError> {
        let taken: Vec<_> = pass.taken.iter().map(|(event, _)| event.to_string()).collect();
        let left = sqlx::query(
            "DELETE FROM rate_waiting WHERE event_id IN (SELECT value FROM json_each(?)) \
             RETURNING plugin, rate_key",
        )
        .bind(json(&taken)?)
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
        let left = left.iter().map(|r| read(bucket(r))).collect::<Result<Vec<_>, _>>()?;
        let placed = self.put_aside(connection, pass).await?;
        let kept = pass.kept(&placed, &left);
        let kept: Vec<_> = kept
            .iter()
            .map(|(bucket, at, change)| (&bucket.plugin, &bucket.key, at, change))
            .collect();
        let kept = json(&kept)?;
        // A row that is not there yet begins with nobody waiting.
        sqlx::query(
            "INSERT INTO rate_buckets (event_type, plugin, rate_key, next_at, waiting) \
             SELECT ?2, value ->> 0, value ->> 1, value ->> 2, 0 FROM json_each(?1) \
             WHERE true ON CONFLICT DO NOTHING",
        )
        .bind(&kept)
        .bind(&self.event_type)
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
        sqlx::query(
            "WITH s AS MATERIALIZED (SELECT value ->> 0 AS of_plugin, value ->> 1 AS of_key, \
             value ->> 2 AS free_at, value ->> 3 AS change FROM json_each(?1)) \
             UPDATE rate_buckets SET next_at = s.free_at, waiting = max(waiting + s.change, 0) \
             FROM s WHERE event_type = ?2 AND plugin = s.of_plugin AND rate_key = s.of_key",
        )
        .bind(&kept)
        .bind(&self.event_type)
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
        Ok(u32::try_from(placed.len()).unwrap_or(u32::MAX))
    }

    async fn put_aside(
        &self,
        connection: &mut SqliteConnection,
        pass: &LimitedPass,
    ) -> Result<Vec<Bucket>, StoreError> {
        if pass.aside.is_empty() {
            return Ok(Vec::new());
        }
        let aside = pass.aside.iter().map(|aside| {
            let Bucket { plugin, key } = &aside.bucket;
            (aside.event.to_string(), plugin, key, micros_of(aside.due_at), aside.until)
        });
        let aside = json(&aside.collect::<Vec<_>>())?;
        sqlx::query(
            "WITH s AS MATERIALIZED (SELECT value ->> 0 AS event_id, value ->> 4 AS until \
             FROM json_each(?1)) UPDATE outbox_events INDEXED BY outbox_events_id \
             SET available_at = s.until, updated_at = ?2 FROM s \
             WHERE outbox_events.id = s.event_id AND outbox_events.status = 'PENDING'",
        )
        .bind(&aside)
        .bind(micros_of(now()))
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
        let placed = sqlx::query(
            "INSERT INTO rate_waiting (event_id, event_type, plugin, rate_key, due_at) \
             SELECT value ->> 0, ?2, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) \
             WHERE true ON CONFLICT (event_id) DO NOTHING RETURNING plugin, rate_key",
        )
        .bind(&aside)
        .bind(&self.event_type)
        .fetch_all(connection)
        .await
        .doing(DOING)?;
        placed.iter().map(|r| read(bucket(r))).collect()
    }

    pub(super) async fn next_at(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(
            "SELECT min(next_at) FROM rate_buckets WHERE event_type = ?1 AND waiting > 0",
        )
        .bind(&self.event_type)
        .fetch_one(connection)
        .await
        .doing(DOING)
    }
}

/// How many may be taken: none of a paused route, and no more than the plugins' fleets leave room
/// for.
pub(super) async fn room(
    connection: &mut SqliteConnection,
    claiming: &Claiming,
    limits: &dyn RouteLimits,
) -> Result<u32, StoreError> {
    let paused: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM route_controls WHERE event_type = ?1 AND paused)",
    )
    .bind(&claiming.event_type)
    .fetch_one(&mut *connection)
    .await
    .doing(DOING)?;
    let mut room = if paused { 0 } else { claiming.limit };
    for fleet in limits.fleets() {
        if room > 0 {
            let in_hand: u32 = sqlx::query_scalar(
                "SELECT count(*) FROM (SELECT 1 FROM outbox_events \
                 INDEXED BY outbox_events_processing WHERE status = 'PROCESSING' \
                 AND event_type IN (SELECT value FROM json_each(?1)) LIMIT ?2)",
            )
            .bind(names(&fleet.among)?)
            .bind(fleet.max)
            .fetch_one(&mut *connection)
            .await
            .doing(DOING)?;
            room = room.min(fleet.max.saturating_sub(in_hand));
        }
    }
    Ok(room)
}

fn names(types: &[EventType]) -> Result<String, StoreError> {
    json(&types.iter().map(EventType::as_str).collect::<Vec<_>>())
}

pub(super) fn read<T>(value: Result<T, ColumnError>) -> Result<T, StoreError> {
    row::field("rate_buckets", value)
}

pub(super) fn bucket(row: &SqliteRow) -> Result<Bucket, ColumnError> {
    Ok(Bucket { plugin: row.text("plugin")?, key: row.text("rate_key")? })
}

fn kept(row: &SqliteRow) -> Result<(Bucket, Kept), ColumnError> {
    let next_at = Some(row.integer("next_at")?);
    Ok((bucket(row)?, Kept { next_at, waiting: row.integer("waiting")? }))
}

fn waited(row: &SqliteRow) -> Result<Candidate, ColumnError> {
    Ok(Candidate {
        event: EventId::from_uuid(row.uuid("id")?),
        due_at: row.time("due_at")?,
        bucket: Some(bucket(row)?),
        waited: true,
    })
}
