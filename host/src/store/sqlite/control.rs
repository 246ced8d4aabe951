//! Pausing and resuming routes.

use async_trait::async_trait;

use super::write::micros_of;
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::domain::EventType;
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{ControlChange, ControlNote, ControlStore, RouteControl, StoreError, row};

const PAUSE: &str = "\
    INSERT INTO route_controls (event_type, paused, reason, changed_by, changed_at) \
    VALUES (?1, 1, ?2, ?3, ?4) ON CONFLICT (event_type) DO UPDATE SET paused = 1, \
    reason = excluded.reason, changed_by = excluded.changed_by, changed_at = excluded.changed_at \
    WHERE NOT route_controls.paused";

const RESUME: &str = "\
    UPDATE route_controls SET paused = 0, reason = ?2, changed_by = ?3, changed_at = ?4 \
    WHERE event_type = ?1 AND paused";

#[async_trait]
impl ControlStore for Sqlite {
    async fn pause_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.control(PAUSE, "pause a route", event_type, note).await
    }

    async fn resume_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let change = self.control(RESUME, "resume a route", event_type, note).await?;
        if change == ControlChange::Changed {
            self.wakeup.send();
        }
        Ok(change)
    }

    async fn route_controls(&self) -> Result<Vec<RouteControl>, StoreError> {
        let rows = sqlx::query("SELECT * FROM route_controls ORDER BY event_type")
            .fetch_all(&self.reads)
            .await
            .doing("read the routes' controls")?;
        rows.iter().map(row::route_control).collect()
    }
}

impl Sqlite {
    async fn control(
        &self,
        sql: &'static str,
        doing: &'static str,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let event_type = event_type.as_str().to_owned();
        let (reason, by) = (storable(note.reason), storable(note.by));
        self.writer
            .write(doing, move |c| {
                Box::pin(async move {
                    let changed = sqlx::query(sql)
                        .bind(event_type)
                        .bind(reason)
                        .bind(by)
                        .bind(micros_of(now()))
                        .execute(c)
                        .await
                        .doing(doing)?;
                    Ok(match changed.rows_affected() {
                        0 => Outcome::Undo(ControlChange::Already),
                        _ => Outcome::Keep(ControlChange::Changed),
                    })
                })
            })
            .await
    }
}
