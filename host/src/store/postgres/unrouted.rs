//! Events that no plugin takes, put aside and let go.

use async_trait::async_trait;

use super::Postgres;
use super::claim::{BY_KEY, columns};
use crate::domain::EventType;
use crate::store::error::Doing;
use crate::store::unrouting::{NOBODY, WAIT_MAX, WAIT_MIN};
use crate::store::writes::micros;
use crate::store::{LeaseRef, StoreError, UnroutedStore};

/// The place is kept by when the event was due. One that has a place already was let go by time.
const PUT_ASIDE: &str = "\
    WITH held AS MATERIALIZED (SELECT e.id, e.event_type, e.available_at FROM outbox_events AS e \
    JOIN unnest($1::uuid[], $2::bigint[]) AS s (id, token) ON e.id = s.id \
    WHERE e.lease_token = s.token AND e.locked_by IS NOT NULL FOR UPDATE OF e), \
    back AS (UPDATE outbox_events AS e SET status = 'PENDING', locked_by = NULL, \
    locked_until = NULL, updated_at = now(), available_at = now() + \
    greatest($3 * interval '1 microsecond', least($4 * interval '1 microsecond', \
    now() - e.created_at)) FROM held WHERE e.id = held.id) \
    INSERT INTO rate_waiting (event_id, event_type, plugin, rate_key, due_at) \
    SELECT id, event_type, $5, '', available_at FROM held ON CONFLICT (event_id) \
    DO UPDATE SET plugin = excluded.plugin, rate_key = excluded.rate_key";

const LET_GO: &str = "\
    WITH gone AS (DELETE FROM rate_waiting WHERE event_id = ANY (ARRAY (SELECT event_id \
    FROM rate_waiting WHERE event_type = $1 AND plugin = $2 AND rate_key = '' \
    ORDER BY due_at, event_id LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING event_id, due_at), \
    back AS (UPDATE outbox_events AS e SET available_at = least(e.available_at, gone.due_at), \
    updated_at = now() FROM gone WHERE e.id = gone.event_id AND e.status = 'PENDING') \
    SELECT event_id FROM gone";

#[async_trait]
impl UnroutedStore for Postgres {
    async fn put_aside(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        const DOING: &str = "put events aside";
        let (ids, tokens) = columns(leases);
        let mut tx = self.pool.begin_with(BY_KEY).await.doing(DOING)?;
        sqlx::query(PUT_ASIDE)
            .bind(ids)
            .bind(tokens)
            .bind(micros(WAIT_MIN))
            .bind(micros(WAIT_MAX))
            .bind(NOBODY)
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        self.claims.end(leases);
        Ok(())
    }

    async fn let_unrouted_go(&self, event_type: &EventType, limit: u32) -> Result<u64, StoreError> {
        let gone = sqlx::query(LET_GO)
            .bind(event_type.as_str())
            .bind(NOBODY)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .doing("let events go that a plugin takes now")?;
        if !gone.is_empty() {
            self.wakeup.send();
        }
        Ok(gone.len() as u64)
    }
}
