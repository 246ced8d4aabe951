//! Pausing and resuming routes.

use async_trait::async_trait;

use super::Postgres;
use crate::domain::EventType;
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{ControlChange, ControlNote, ControlStore, RouteControl, StoreError, row};

const PAUSE: &str = "\
    INSERT INTO route_controls (event_type, paused, reason, changed_by, changed_at) \
    VALUES ($1, true, $2, $3, now()) ON CONFLICT (event_type) DO UPDATE SET paused = true, \
    reason = excluded.reason, changed_by = excluded.changed_by, changed_at = excluded.changed_at \
    WHERE NOT route_controls.paused";

/// The notification reaches every host; it is sent with the commit, and only if there is a change.
const RESUME: &str = "\
    WITH resumed AS (UPDATE route_controls SET paused = false, reason = $2, changed_by = $3, \
    changed_at = now() WHERE event_type = $1 AND paused RETURNING 1) \
    SELECT pg_notify('tidegate_outbox', '') FROM resumed";

#[async_trait]
impl ControlStore for Postgres {
    async fn pause_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let paused = sqlx::query(PAUSE)
            .bind(event_type.as_str())
            .bind(storable(note.reason))
            .bind(storable(note.by))
            .execute(&self.pool)
            .await
            .doing("pause a route")?;
        Ok(change(paused.rows_affected()))
    }

    async fn resume_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let resumed = sqlx::query(RESUME)
            .bind(event_type.as_str())
            .bind(storable(note.reason))
            .bind(storable(note.by))
            .fetch_all(&self.pool)
            .await
            .doing("resume a route")?;
        let change = change(resumed.len() as u64);
        if change == ControlChange::Changed {
            self.wakeup.send();
        }
        Ok(change)
    }

    async fn route_controls(&self) -> Result<Vec<RouteControl>, StoreError> {
        let rows = sqlx::query(
            "SELECT event_type::text AS event_type, paused, reason, changed_by, changed_at \
             FROM route_controls ORDER BY event_type",
        )
        .fetch_all(&self.pool)
        .await
        .doing("read the routes' controls")?;
        rows.iter().map(row::route_control).collect()
    }
}

fn change(rows: u64) -> ControlChange {
    if rows == 0 { ControlChange::Already } else { ControlChange::Changed }
}
