//! Leases that ran out. What is PROCESSING is found through the claims, for no index holds it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::Postgres;
use super::claim::BY_KEY;
use super::row::in_queue;
use crate::store::StoreError;
use crate::store::error::Doing;

pub(super) const DOING: &str = "take over lost leases";

/// Claims that one pass looks at.
const CLAIMS_MAX: i64 = 100;

/// How often the whole queue is read for leases that no claim names. There are such only while a
/// binary from before `outbox_claims` runs beside this one, after a move, or by somebody's hand.
const SEARCHED_EVERY: Duration = Duration::from_secs(300);

/// Claims of which some lease may have run out; none that another host is just looking at.
const DUE: &str = "SELECT id, events FROM outbox_claims WHERE leased_until <= now() \
    ORDER BY leased_until LIMIT $1 FOR UPDATE SKIP LOCKED";

/// Leased by nobody's claim, and over.
const SEARCH: &str = concat!(
    "SELECT id FROM outbox_events WHERE ",
    in_queue!(""),
    " AND status = 'PROCESSING' AND locked_until <= now() LIMIT $1"
);

const TAKE_OVER: &str = "\
    WITH lost AS MATERIALIZED (SELECT id, locked_by, updated_at FROM outbox_events \
    WHERE id = ANY ($2::uuid[]) AND status = 'PROCESSING' AND locked_until <= now() LIMIT $1 \
    FOR UPDATE SKIP LOCKED), \
    taken AS (UPDATE outbox_events AS e SET status = 'RETRYING', \
    next_retry_at = now(), locked_by = NULL, locked_until = NULL, \
    interruption_count = e.interruption_count + 1, outcome_unknown = true, \
    last_error = 'lease lost', updated_at = now() FROM lost WHERE e.id = lost.id \
    RETURNING e.id, e.attempt_count, lost.locked_by, lost.updated_at AS claimed_at) \
    INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
    SELECT id, 'lease lost', attempt_count + 1, 'host ' || locked_by || ' was lost', \
    claimed_at, now() FROM taken";

/// A claim keeps what is still in hand, until the first of those leases runs out; one that keeps
/// nothing goes.
const TIDY: &str = "\
    WITH kept AS MATERIALIZED (SELECT c.id, array_agg(e.id) AS events, \
    min(e.locked_until) AS leased_until FROM outbox_claims AS c JOIN outbox_events AS e \
    ON e.id = ANY (c.events) AND e.status = 'PROCESSING' WHERE c.id = ANY ($1) GROUP BY c.id), \
    put AS (UPDATE outbox_claims AS c SET events = kept.events, leased_until = kept.leased_until \
    FROM kept WHERE c.id = kept.id) \
    DELETE FROM outbox_claims AS c WHERE c.id = ANY ($1) \
    AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.id = c.id)";

impl Postgres {
    /// Takes over up to `limit` leases that ran out.
    pub(super) async fn take_over(&self, limit: u32) -> Result<u64, StoreError> {
        let mut tx = self.pool.begin_with(BY_KEY).await.doing(DOING)?;
        let claims: Vec<(Uuid, Vec<Uuid>)> =
            sqlx::query_as(DUE).bind(CLAIMS_MAX).fetch_all(&mut *tx).await.doing(DOING)?;
        let mut taken = 0;
        if !claims.is_empty() {
            let (claims, events): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
            taken = take(&mut tx, events.concat(), limit).await?;
            sqlx::query(TIDY).bind(claims).execute(&mut *tx).await.doing(DOING)?;
        }
        if taken < u64::from(limit) && self.searches_now() {
            let left = limit.saturating_sub(u32::try_from(taken).unwrap_or(limit));
            let found: Vec<Uuid> = sqlx::query_scalar(SEARCH)
                .bind(i64::from(left))
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
            if found.len() >= left as usize {
                // There may be more: the next pass searches too.
                self.search_again();
            }
            taken += take(&mut tx, found, left).await?;
        }
        tx.commit().await.doing(DOING)?;
        Ok(taken)
    }

    fn search_again(&self) {
        *self.searched_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is time to read the whole queue again; the next time is then counted from now.
    fn searches_now(&self) -> bool {
        let mut searched_at = self.searched_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = searched_at.is_none_or(|at| at.elapsed() >= SEARCHED_EVERY);
        if is_time {
            *searched_at = Some(Instant::now());
        }
        is_time
    }
}

async fn take(
    connection: &mut PgConnection,
    events: Vec<Uuid>,
    limit: u32,
) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let taken = sqlx::query(TAKE_OVER)
        .bind(i64::from(limit))
        .bind(events)
        .execute(connection)
        .await
        .doing(DOING)?;
    Ok(taken.rows_affected())
}
