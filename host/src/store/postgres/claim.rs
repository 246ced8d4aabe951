//! Leases: taken, prolonged, given back.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use super::Postgres;
use super::claims::keep_claim;
use super::row::{event_columns, in_queue};
use crate::domain::{EventId, EventType, OutboxEvent};
use crate::store::error::Doing;
use crate::store::row;
use crate::store::writes::micros;
use crate::store::{CLAIM_MAX, Claim, DispatchStore, LeaseRef, Settled, Settlement, StoreError};

/// The oldest due events of one type that no other host has or is just taking, unless the type is
/// paused, which is looked up once a claim. One that never began and is past `valid_until` is left to
/// the failure job. `$5` is the row in which is kept what it took.
macro_rules! claim_sql {
    ($held:expr) => {
        concat!(
            "WITH claimed AS (UPDATE outbox_events SET status = 'PROCESSING', locked_by = $3, \
             locked_until = now() + $4 * interval '1 microsecond', \
             lease_token = lease_token + 1, updated_at = now() \
             WHERE id = ANY (ARRAY (SELECT e.id FROM outbox_events AS e \
             WHERE ",
            in_queue!("e."),
            " AND e.status = 'PENDING' AND e.event_type = $1 AND e.available_at <= now() \
             AND NOT EXISTS (SELECT 1 FROM route_controls AS c WHERE c.event_type = $1 \
             AND c.paused) AND (e.valid_until IS NULL OR e.valid_until > now() OR e.outcome_unknown \
             OR e.attempt_count + e.deferral_count + e.interruption_count > 0) ",
            $held,
            " ORDER BY e.available_at, e.id LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING ",
            event_columns!(),
            "), kept AS (",
            keep_claim!("$5", "$1", "last.available_at, last.id"),
            ") SELECT * FROM claimed"
        )
    };
}

pub(in crate::store) const CLAIM: &str = claim_sql!("");

/// As [`CLAIM`], but an event is held by any earlier one of its aggregate that is neither DONE nor
/// given up. So at most one of an aggregate is taken, also by hosts that claim at the same moment:
/// a later event is free only in a snapshot in which the earlier one is settled.
pub(in crate::store) const CLAIM_IN_ORDER: &str = claim_sql!(
    "AND NOT EXISTS (SELECT 1 FROM outbox_events AS earlier WHERE earlier.done_at IS NULL \
     AND earlier.skipped_at IS NULL AND earlier.aggregate_id = e.aggregate_id \
     AND earlier.position < e.position \
     AND earlier.aggregate_type = e.aggregate_type AND earlier.event_type = ANY ($6::text[]))"
);

/// The last event of the newest claims of any host; null if there was none for a while.
macro_rules! mark_sql {
    ($column:literal) => {
        concat!(
            "(SELECT m.",
            $column,
            " FROM outbox_claims AS m WHERE m.event_type = $1 AND m.last_at IS NOT NULL \
             AND m.claimed_at > now() - interval '1 second' \
             ORDER BY m.last_at DESC, m.last_id DESC LIMIT 1)"
        )
    };
}

/// As [`CLAIM`], behind what all hosts took last. What is in hand stands before what is pending, and
/// what was settled leaves dead entries that only vacuum takes: one that starts behind them does not
/// walk over them again.
pub(in crate::store) const CLAIM_BEHIND_MARK: &str = claim_sql!(concat!(
    "AND (e.available_at, e.id) > (",
    mark_sql!("last_at"),
    ", ",
    mark_sql!("last_id"),
    ")"
));

/// For so long large claims may start behind the mark: what is due before it, because it was promoted or
/// committed late, waits no longer.
const MARK_FOR: Duration = Duration::from_secs(1);

/// Smaller claims always look from the very start: they take the oldest, and walk little in all.
const MARKED_MIN: u32 = 100;

/// Begins a transaction that looks many events up, each by its key. The planner may not choose: a
/// plan that it keeps is made for ten of them and for the table as it was then, and what is best there
/// reads the whole table, or compares each row in hand with each of theirs, once both have grown. And
/// what it may not choose and has no other way for seems so dear to it that it would be compiled.
pub(in crate::store) const BY_KEY: &str = "BEGIN; SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// A claim is looked at when its first lease runs out, also when that is sooner than it was.
const SOONER: &str = "UPDATE outbox_claims SET leased_until = now() + $2 * interval '1 microsecond' \
    WHERE id = ANY ($1) AND leased_until > now() + $2 * interval '1 microsecond'";

/// Prolongs leases that are held; as `settle` looks them up.
const EXTEND: &str = "\
    UPDATE outbox_events AS e SET locked_until = now() + $3 * interval '1 microsecond' \
    FROM unnest($1::uuid[], $2::bigint[]) AS s (id, token) \
    WHERE e.id = s.id AND e.lease_token = s.token AND e.locked_by IS NOT NULL RETURNING e.id";

impl Postgres {
    /// When a claim of a type last looked from the very start, if the next need not.
    fn looked_at(&self, event_type: &EventType) -> Option<Instant> {
        let looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.get(event_type).filter(|at| at.elapsed() < MARK_FOR).copied()
    }

    /// One that found less than it asked for lets the next look from the very start.
    fn set_looked_at(&self, request: &Claim<'_>, found: usize, at: Instant) {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if found >= request.limit as usize {
            looked_at.insert(request.event_type.clone(), at);
        } else {
            looked_at.remove(request.event_type);
        }
    }

    async fn claim_once(
        &self,
        request: &Claim<'_>,
        behind_mark: bool,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        let among = request.ordered_among.iter().map(EventType::as_str).collect::<Vec<_>>();
        let sql = match (behind_mark, among.is_empty()) {
            (true, _) => CLAIM_BEHIND_MARK,
            (false, true) => CLAIM,
            (false, false) => CLAIM_IN_ORDER,
        };
        let claim = self.claims.next();
        let mut query = sqlx::query(sql)
            .bind(request.event_type.as_str())
            .bind(i64::from(request.limit))
            .bind(request.host.as_str())
            .bind(micros(request.lease_for))
            .bind(claim);
        if !among.is_empty() {
            query = query.bind(among);
        }
        let rows = query.fetch_all(&self.pool).await.doing("claim events")?;
        let mut events = rows.iter().map(row::event).collect::<Result<Vec<_>, _>>()?;
        self.claims.begin(claim, &events);
        // RETURNING promises no order.
        events.sort_unstable_by_key(|event| (event.available_at, event.id));
        Ok(events)
    }
}

#[async_trait]
impl DispatchStore for Postgres {
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError> {
        let request = Claim { limit: request.limit.min(CLAIM_MAX), ..request };
        if request.limit == 0 {
            return Ok(Vec::new());
        }
        if !request.ordered_among.is_empty() || request.limit < MARKED_MIN {
            return self.claim_once(&request, false).await;
        }
        let looked_at = self.looked_at(request.event_type);
        let begun_at = Instant::now();
        let mut events = self.claim_once(&request, looked_at.is_some()).await?;
        let missing = request.limit.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
        if looked_at.is_some() && missing > 0 {
            // Nothing more is due behind the mark; before it, something may be.
            let rest = Claim { limit: missing, ..request };
            events.extend(self.claim_once(&rest, false).await?);
            events.sort_by_key(|event| (event.available_at, event.id));
            self.set_looked_at(&request, events.len(), begun_at);
        } else {
            self.set_looked_at(&request, events.len(), looked_at.unwrap_or(begun_at));
        }
        Ok(events)
    }

    async fn extend(
        &self,
        leases: &[LeaseRef],
        lease_for: Duration,
    ) -> Result<Vec<EventId>, StoreError> {
        const DOING: &str = "prolong leases";
        let (ids, tokens) = columns(leases);
        let mut tx = self.pool.begin_with(BY_KEY).await.doing(DOING)?;
        let extended: Vec<Uuid> = sqlx::query_scalar(EXTEND)
            .bind(ids)
            .bind(tokens)
            .bind(micros(lease_for))
            .fetch_all(&mut *tx)
            .await
            .doing(DOING)?;
        sqlx::query(SOONER)
            .bind(self.claims.of(leases))
            .bind(micros(lease_for))
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(extended.into_iter().map(EventId::from_uuid).collect())
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.pool.limited("settle verdicts", self.settle_batch(settlements)).await
    }

    async fn release(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        let (ids, tokens) = columns(leases);
        sqlx::query(
            "UPDATE outbox_events AS e SET status = 'PENDING', locked_by = NULL, \
             locked_until = NULL, updated_at = now() \
             FROM unnest($1::uuid[], $2::bigint[]) AS s (id, token) \
             WHERE e.id = s.id AND e.lease_token = s.token AND e.locked_by IS NOT NULL",
        )
        .bind(ids)
        .bind(tokens)
        .execute(&self.pool)
        .await
        .doing("give leases back")?;
        self.claims.end(leases);
        Ok(())
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeup.subscribe()
    }
}

/// Leases as two arrays.
pub(super) fn columns(leases: &[LeaseRef]) -> (Vec<Uuid>, Vec<i64>) {
    leases.iter().map(|lease| (lease.event.as_uuid(), lease.token.0)).unzip()
}
