//! Events that no plugin takes, put aside and let go.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::claim::lease_json;
use super::write::{json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::EventType;
use crate::store::error::Doing;
use crate::store::unrouting::{NOBODY, WAIT_MAX, WAIT_MIN};
use crate::store::writes::micros;
use crate::store::{LeaseRef, StoreError, UnroutedStore};

/// The place is kept by when the event was due. One that has a place already was let go by time.
const KEEP_PLACES: &str = "\
    INSERT INTO rate_waiting (event_id, event_type, plugin, rate_key, due_at) \
    SELECT id, event_type, ?2, '', available_at FROM outbox_events \
    WHERE status = 'PROCESSING' AND (id, lease_token) IN \
    (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) ON CONFLICT (event_id) \
    DO UPDATE SET plugin = excluded.plugin, rate_key = excluded.rate_key";

const PUT_ASIDE: &str = "\
    UPDATE outbox_events SET status = 'PENDING', locked_by = NULL, locked_until = NULL, \
    updated_at = ?2, available_at = ?2 + max(?3, min(?4, ?2 - created_at)) \
    WHERE status = 'PROCESSING' AND (id, lease_token) IN \
    (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";

const FIRST: &str = "\
    SELECT event_id FROM rate_waiting WHERE event_type = ?1 AND plugin = ?2 AND rate_key = '' \
    ORDER BY due_at, event_id LIMIT ?3";

const LET_GO: &str = "\
    WITH gone AS MATERIALIZED (SELECT event_id, due_at FROM rate_waiting \
    WHERE event_id IN (SELECT value FROM json_each(?1))) \
    UPDATE outbox_events INDEXED BY outbox_events_id \
    SET available_at = min(available_at, gone.due_at), updated_at = ?2 FROM gone \
    WHERE outbox_events.id = gone.event_id AND outbox_events.status = 'PENDING'";

#[async_trait]
impl UnroutedStore for Sqlite {
    async fn put_aside(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        const DOING: &str = "put events aside";
        let leases = lease_json(leases)?;
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    sqlx::query(KEEP_PLACES)
                        .bind(&leases)
                        .bind(NOBODY)
                        .execute(&mut *c)
                        .await
                        .doing(DOING)?;
                    sqlx::query(PUT_ASIDE)
                        .bind(leases)
                        .bind(micros_of(now()))
                        .bind(micros(WAIT_MIN))
                        .bind(micros(WAIT_MAX))
                        .execute(c)
                        .await
                        .doing(DOING)?;
                    Ok(Outcome::Keep(()))
                })
            })
            .await
    }

    async fn let_unrouted_go(&self, event_type: &EventType, limit: u32) -> Result<u64, StoreError> {
        let event_type = event_type.as_str().to_owned();
        let gone = self
            .writer
            .write("let events go that a plugin takes now", move |c| {
                Box::pin(async move { let_go(c, &event_type, limit).await })
            })
            .await?;
        if gone > 0 {
            self.wakeup.send();
        }
        Ok(gone)
    }
}

async fn let_go(
    connection: &mut SqliteConnection,
    event_type: &str,
    limit: u32,
) -> Result<Outcome<u64>, StoreError> {
    const DOING: &str = "let events go that a plugin takes now";
    let ids: Vec<String> = sqlx::query_scalar(FIRST)
        .bind(event_type)
        .bind(NOBODY)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    if ids.is_empty() {
        return Ok(Outcome::Undo(0));
    }
    let gone = json(&ids)?;
    sqlx::query(LET_GO)
        .bind(&gone)
        .bind(micros_of(now()))
        .execute(&mut *connection)
        .await
        .doing(DOING)?;
    sqlx::query("DELETE FROM rate_waiting WHERE event_id IN (SELECT value FROM json_each(?))")
        .bind(&gone)
        .execute(connection)
        .await
        .doing(DOING)?;
    Ok(Outcome::Keep(ids.len() as u64))
}
