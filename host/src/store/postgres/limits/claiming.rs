//! The statements of a claim within limits, in the order in which they are made.

use chrono::DateTime;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::super::claims::{Claims, keep_claim};
use super::super::row::{event_columns, in_queue};
use super::DOING;
use crate::domain::{EventId, EventType, OutboxEvent, Timestamp};
use crate::store::error::Doing;
use crate::store::limiting::{
    Bucket, Candidate, Kept, LOCK_MS, LimitedPass, RouteLimits, lock_number,
};
use crate::store::row::{self, ColumnError, Columns};
use crate::store::writes::micros;
use crate::store::{Claim, StoreError};

/// A host that stands still must not hold the others up: its session is ended, and its lock goes.
/// And no statistics must turn a look at a few rows into a walk over all, or have it compiled.
const BEGIN: &str = "SELECT set_config('idle_in_transaction_session_timeout', $1, true), \
    set_config('lock_timeout', $1, true), set_config('enable_seqscan', 'off', true), \
    set_config('jit', 'off', true)";

/// In the order of the numbers, so that nobody waits in a circle.
const LOCK: &str =
    "SELECT count(pg_advisory_xact_lock(number)) FROM unnest($1::bigint[]) AS number";

/// By the clock and not by the transaction's beginning: that was before the lock.
const STATE: &str = "SELECT clock_timestamp() AS now, \
    EXISTS (SELECT 1 FROM route_controls WHERE event_type = $1 AND paused) AS paused";

const IN_HAND: &str = "SELECT count(*) FROM (SELECT 1 FROM outbox_events \
    WHERE id = ANY (ARRAY (SELECT unnest(c.events) FROM outbox_claims AS c \
    WHERE c.event_type = ANY ($1::text[]))) \
    AND status = 'PROCESSING' AND event_type = ANY ($1::text[]) LIMIT $2) AS in_hand";

/// What a claim passes over: what the failure job will fail, and what an ordered route holds. `$2` is
/// now, `$3` what the order is kept among.
macro_rules! claimable {
    () => {
        concat!(
            in_queue!("e."),
            " AND e.status = 'PENDING' AND e.event_type = $1 AND (e.valid_until IS NULL \
         OR e.valid_until > $2 OR e.outcome_unknown \
         OR e.attempt_count + e.deferral_count + e.interruption_count > 0) \
         AND (cardinality($3::text[]) = 0 OR NOT EXISTS (SELECT 1 FROM outbox_events AS earlier \
         WHERE earlier.done_at IS NULL AND earlier.skipped_at IS NULL \
         AND earlier.aggregate_id = e.aggregate_id AND earlier.position < e.position \
         AND earlier.aggregate_type = e.aggregate_type \
         AND earlier.event_type = ANY ($3::text[])))"
        )
    };
}

pub(in crate::store) const DUE: &str = concat!(
    "SELECT e.id, e.available_at, e.payload::text AS payload FROM outbox_events AS e WHERE ",
    claimable!(),
    " AND e.available_at <= $2 ORDER BY e.available_at, e.id LIMIT $4 FOR UPDATE OF e SKIP LOCKED"
);

const WAITING: &str = concat!(
    "SELECT w.id, w.due_at, k.plugin, k.rate_key \
     FROM unnest($4::text[], $5::text[], $6::bigint[]) AS k (plugin, rate_key, room) \
     CROSS JOIN LATERAL (SELECT e.id, w.due_at FROM rate_waiting AS w \
     JOIN outbox_events AS e ON e.id = w.event_id WHERE w.event_type = $1 \
     AND w.plugin = k.plugin AND w.rate_key = k.rate_key AND ",
    claimable!(),
    " ORDER BY w.due_at, w.event_id LIMIT k.room FOR UPDATE OF e SKIP LOCKED) AS w"
);

/// The keys that have room, and something that waits for it, the longest free first; and those
/// whose time is further away than it can be, which are corrected.
const KEYS: &str = "(SELECT plugin, rate_key, next_at, waiting \
    FROM rate_buckets WHERE event_type = $1 AND waiting > 0 AND next_at <= $2 \
    ORDER BY next_at LIMIT $4) UNION ALL (SELECT plugin, rate_key, next_at, waiting \
    FROM rate_buckets WHERE event_type = $1 AND waiting > 0 AND next_at > $3 \
    ORDER BY next_at DESC LIMIT $4)";

/// Its time goes back to what it was, so that it is due at once if it is given back. `$6` is the
/// row in which is kept what was taken.
const TAKE: &str = concat!(
    "WITH claimed AS (UPDATE outbox_events AS e SET status = 'PROCESSING', locked_by = $3, \
     locked_until = clock_timestamp() + $4 * interval '1 microsecond', \
     lease_token = e.lease_token + 1, available_at = s.due_at, updated_at = clock_timestamp() \
     FROM unnest($1::uuid[], $2::timestamptz[]) AS s (event, due_at) \
     WHERE e.id = s.event AND e.status = 'PENDING' AND NOT EXISTS (SELECT 1 FROM route_controls \
     WHERE event_type = $5 AND paused) RETURNING ",
    event_columns!(),
    "), kept AS (",
    keep_claim!("$6", "$5", "NULL::timestamptz, NULL::uuid"),
    ") SELECT * FROM claimed"
);

const PUT_ASIDE: &str = "WITH aside AS (UPDATE outbox_events AS e SET available_at = s.until, \
    updated_at = clock_timestamp() FROM unnest($1::uuid[], $6::timestamptz[]) AS s (event, until) \
    WHERE e.id = s.event AND e.status = 'PENDING') \
    INSERT INTO rate_waiting (event_id, event_type, plugin, rate_key, due_at) \
    SELECT s.event, $2, s.plugin, s.rate_key, s.due_at \
    FROM unnest($1::uuid[], $3::text[], $4::text[], $5::timestamptz[]) \
    AS s (event, plugin, rate_key, due_at) ON CONFLICT (event_id) DO NOTHING \
    RETURNING plugin, rate_key";

/// Rows that are there already are changed by the first statement, and made by the second.
const KEEP: &str = "WITH s AS (SELECT * FROM unnest($2::text[], $3::text[], $4::timestamptz[], \
    $5::bigint[]) AS s (plugin, rate_key, next_at, change)), \
    kept AS (UPDATE rate_buckets AS b SET next_at = s.next_at, \
    waiting = greatest(b.waiting + s.change, 0) FROM s WHERE b.event_type = $1 \
    AND b.plugin = s.plugin AND b.rate_key = s.rate_key RETURNING b.plugin, b.rate_key) \
    INSERT INTO rate_buckets (event_type, plugin, rate_key, next_at, waiting) \
    SELECT $1, s.plugin, s.rate_key, s.next_at, greatest(s.change, 0) FROM s \
    WHERE NOT EXISTS (SELECT 1 FROM kept WHERE kept.plugin = s.plugin \
    AND kept.rate_key = s.rate_key) ON CONFLICT DO NOTHING";

/// Takes the locks; then the time, and how many may be taken. None if there is nothing to do.
pub(super) async fn begin(
    connection: &mut PgConnection,
    request: &Claim<'_>,
    limits: &dyn RouteLimits,
) -> Result<Option<(Timestamp, u32)>, StoreError> {
    let mut locks: Vec<_> = limits.plugins().iter().map(|plugin| lock_number(plugin)).collect();
    locks.sort_unstable();
    sqlx::query(BEGIN).bind(LOCK_MS.to_string()).execute(&mut *connection).await.doing(DOING)?;
    sqlx::query(LOCK).bind(locks).execute(&mut *connection).await.doing(DOING)?;
    let state = sqlx::query(STATE)
        .bind(request.event_type.as_str())
        .fetch_one(&mut *connection)
        .await
        .doing(DOING)?;
    let mut room = if read(state.flag("paused"))? { 0 } else { request.limit };
    for fleet in limits.fleets() {
        if room > 0 {
            let in_hand: i64 = sqlx::query_scalar(IN_HAND)
                .bind(names(&fleet.among))
                .bind(i64::from(fleet.max))
                .fetch_one(&mut *connection)
                .await
                .doing(DOING)?;
            let in_hand = u32::try_from(in_hand).unwrap_or(u32::MAX);
            room = room.min(fleet.max.saturating_sub(in_hand));
        }
    }
    Ok((room > 0).then_some((read(state.time("now"))?, room)))
}

/// A claim whose locks are held.
pub(super) struct Claiming<'t, 'r> {
    pub(super) tx: &'t mut PgConnection,
    pub(super) request: &'r Claim<'r>,
}

impl Claiming<'_, '_> {
    fn event_type(&self) -> String {
        self.request.event_type.as_str().to_owned()
    }

    /// What waits and may go, and what is due; and whether there may be more that is due.
    pub(super) async fn candidates(
        &mut self,
        pass: &mut LimitedPass,
    ) -> Result<(Vec<Candidate>, bool), StoreError> {
        let mut candidates = self.waiting(pass).await?;
        let look = pass.look();
        let rows = sqlx::query(DUE)
            .bind(self.event_type())
            .bind(time(pass.now()))
            .bind(names(self.request.ordered_among))
            .bind(i64::from(look))
            .fetch_all(&mut *self.tx)
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
        self.know(pass, &candidates).await?;
        Ok((candidates, rows.len() >= look as usize))
    }

    async fn waiting(&mut self, pass: &mut LimitedPass) -> Result<Vec<Candidate>, StoreError> {
        let rows = sqlx::query(KEYS)
            .bind(self.event_type())
            .bind(time(pass.now()))
            .bind(time(pass.next_at_max()))
            .bind(i64::from(pass.room()))
            .fetch_all(&mut *self.tx)
            .await
            .doing(DOING)?;
        let due = rows.iter().map(|r| read(kept(r))).collect::<Result<Vec<_>, _>>()?;
        let allowed = pass.let_go(due);
        if allowed.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(WAITING)
            .bind(self.event_type())
            .bind(time(pass.now()))
            .bind(names(self.request.ordered_among))
            .bind(column(&allowed, |(bucket, _)| bucket.plugin.clone()))
            .bind(column(&allowed, |(bucket, _)| bucket.key.clone()))
            .bind(column(&allowed, |(_, count)| i64::from(*count)))
            .fetch_all(&mut *self.tx)
            .await
            .doing(DOING)?;
        let waiting = rows.iter().map(|r| read(waited(r))).collect::<Result<Vec<_>, _>>()?;
        let mut empty: Vec<_> = allowed.into_iter().map(|(bucket, _)| bucket).collect();
        empty.retain(|bucket| !waiting.iter().any(|one| one.bucket.as_ref() == Some(bucket)));
        if !empty.is_empty() {
            self.count_again(&empty).await?;
        }
        Ok(waiting)
    }

    /// Keys of which nobody could go: those who waited may have been cancelled, or have expired.
    async fn count_again(&mut self, buckets: &[Bucket]) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE rate_buckets AS b SET waiting = (SELECT count(*) FROM rate_waiting AS w \
             JOIN outbox_events AS e ON e.id = w.event_id AND e.status = 'PENDING' \
             WHERE w.event_type = $1 AND w.plugin = b.plugin AND w.rate_key = b.rate_key) \
             FROM unnest($2::text[], $3::text[]) AS k (plugin, rate_key) \
             WHERE b.event_type = $1 AND b.plugin = k.plugin AND b.rate_key = k.rate_key",
        )
        .bind(self.event_type())
        .bind(column(buckets, |bucket| bucket.plugin.clone()))
        .bind(column(buckets, |bucket| bucket.key.clone()))
        .execute(&mut *self.tx)
        .await
        .doing(DOING)?;
        Ok(())
    }

    /// Reads what is kept of the candidates' buckets.
    async fn know(
        &mut self,
        pass: &mut LimitedPass,
        candidates: &[Candidate],
    ) -> Result<(), StoreError> {
        let unknown = pass.unknown(candidates);
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "SELECT b.plugin, b.rate_key, b.next_at, b.waiting FROM rate_buckets AS b \
             JOIN unnest($2::text[], $3::text[]) AS k (plugin, rate_key) \
             ON b.plugin = k.plugin AND b.rate_key = k.rate_key WHERE b.event_type = $1",
        )
        .bind(self.event_type())
        .bind(column(&unknown, |bucket| bucket.plugin.clone()))
        .bind(column(&unknown, |bucket| bucket.key.clone()))
        .fetch_all(&mut *self.tx)
        .await
        .doing(DOING)?;
        for found in &rows {
            let (bucket, kept) = read(kept(found))?;
            pass.know(bucket, kept);
        }
        Ok(())
    }

    pub(super) async fn take(
        &mut self,
        pass: &LimitedPass,
        claims: &Claims,
    ) -> Result<(Uuid, Vec<OutboxEvent>), StoreError> {
        let claim = claims.next();
        if pass.taken.is_empty() {
            return Ok((claim, Vec::new()));
        }
        let mut rows = sqlx::query(TAKE)
            .bind(column(&pass.taken, |(event, _)| event.as_uuid()))
            .bind(column(&pass.taken, |(_, due_at)| *due_at))
            .bind(self.request.host.as_str())
            .bind(micros(self.request.lease_for))
            .bind(self.event_type())
            .bind(claim)
            .fetch_all(&mut *self.tx)
            .await
            .doing(DOING)?;
        rows.sort_by_key(|r| (r.time("available_at").ok(), r.uuid("id").ok()));
        Ok((claim, rows.iter().map(row::event).collect::<Result<_, _>>()?))
    }

    /// Writes what a pass decided beside what it took. Answers how many got a place now.
    pub(super) async fn keep(&mut self, pass: &LimitedPass) -> Result<u32, StoreError> {
        let taken: Vec<_> = pass.taken.iter().map(|(event, _)| event.as_uuid()).collect();
        let left = sqlx::query(
            "DELETE FROM rate_waiting WHERE event_id = ANY ($1) RETURNING plugin, rate_key",
        )
        .bind(taken)
        .fetch_all(&mut *self.tx)
        .await
        .doing(DOING)?;
        let left = left.iter().map(|r| read(bucket(r))).collect::<Result<Vec<_>, _>>()?;
        let placed = self.put_aside(pass).await?;
        let kept = pass.kept(&placed, &left);
        if !kept.is_empty() {
            sqlx::query(KEEP)
                .bind(self.event_type())
                .bind(column(&kept, |(bucket, ..)| bucket.plugin.clone()))
                .bind(column(&kept, |(bucket, ..)| bucket.key.clone()))
                .bind(column(&kept, |(_, next_at, _)| time(*next_at)))
                .bind(column(&kept, |(.., change)| *change))
                .execute(&mut *self.tx)
                .await
                .doing(DOING)?;
        }
        Ok(u32::try_from(placed.len()).unwrap_or(u32::MAX))
    }

    async fn put_aside(&mut self, pass: &LimitedPass) -> Result<Vec<Bucket>, StoreError> {
        if pass.aside.is_empty() {
            return Ok(Vec::new());
        }
        let placed = sqlx::query(PUT_ASIDE)
            .bind(column(&pass.aside, |aside| aside.event.as_uuid()))
            .bind(self.event_type())
            .bind(column(&pass.aside, |aside| aside.bucket.plugin.clone()))
            .bind(column(&pass.aside, |aside| aside.bucket.key.clone()))
            .bind(column(&pass.aside, |aside| aside.due_at))
            .bind(column(&pass.aside, |aside| time(aside.until)))
            .fetch_all(&mut *self.tx)
            .await
            .doing(DOING)?;
        placed.iter().map(|r| read(bucket(r))).collect()
    }

    pub(super) async fn next_at(&mut self) -> Result<Option<i64>, StoreError> {
        let next_at: Option<Timestamp> = sqlx::query_scalar(
            "SELECT min(next_at) FROM rate_buckets WHERE event_type = $1 AND waiting > 0",
        )
        .bind(self.event_type())
        .fetch_one(&mut *self.tx)
        .await
        .doing(DOING)?;
        Ok(next_at.map(|at| at.timestamp_micros()))
    }
}

fn column<T, C>(rows: &[T], of: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

fn names(types: &[EventType]) -> Vec<&str> {
    types.iter().map(EventType::as_str).collect()
}

fn time(micros: i64) -> Timestamp {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

pub(super) fn read<T>(value: Result<T, ColumnError>) -> Result<T, StoreError> {
    row::field("rate_buckets", value)
}

pub(super) fn bucket(row: &PgRow) -> Result<Bucket, ColumnError> {
    Ok(Bucket { plugin: row.text("plugin")?, key: row.text("rate_key")? })
}

fn kept(row: &PgRow) -> Result<(Bucket, Kept), ColumnError> {
    let next_at = Some(row.time("next_at")?.timestamp_micros());
    Ok((bucket(row)?, Kept { next_at, waiting: row.integer("waiting")? }))
}

fn waited(row: &PgRow) -> Result<Candidate, ColumnError> {
    Ok(Candidate {
        event: EventId::from_uuid(row.uuid("id")?),
        due_at: row.time("due_at")?,
        bucket: Some(bucket(row)?),
        waited: true,
    })
}
