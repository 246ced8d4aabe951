//! Circuit breakers.

use std::time::Duration;

use async_trait::async_trait;

use super::write::micros_of;
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::store::error::Doing;
use crate::store::writes::{micros, storable};
use crate::store::{
    Breaker, BreakerKey, BreakerStore, ControlChange, ControlNote, StoreError, row,
};

const LIST: &str = "\
    SELECT plugin, target, state, trips, reason, changed_by, changed_at, \
    open_until - ?1 AS left_micros, ?1 - changed_at AS ago_micros \
    FROM breakers ORDER BY plugin, target";

// In all of them ?1 and ?2 are the key, ?3 the time, ?4 a duration, ?5 the reason, ?6 by whom.
const OPEN: &str = "\
    INSERT INTO breakers (plugin, target, state, trips, open_until, reason, changed_by, changed_at) \
    VALUES (?1, ?2, 'OPEN', 1, ?3 + ?4, ?5, ?6, ?3) \
    ON CONFLICT (plugin, target) DO UPDATE SET state = 'OPEN', trips = breakers.trips + 1, \
    open_until = excluded.open_until, probe_until = NULL, reason = excluded.reason, \
    changed_by = excluded.changed_by, changed_at = excluded.changed_at \
    WHERE breakers.state = 'CLOSED' OR breakers.state = 'OPEN' AND breakers.open_until <= ?3";

const PROBE: &str = "\
    UPDATE breakers SET probe_until = ?3 + ?4 \
    WHERE plugin = ?1 AND target = ?2 AND state = 'OPEN' AND open_until <= ?3 \
    AND (probe_until IS NULL OR probe_until <= ?3) AND ?5 IS NOT NULL AND ?6 IS NOT NULL";

const CLOSE: &str = "\
    UPDATE breakers SET state = 'CLOSED', trips = 0, open_until = NULL, probe_until = NULL, \
    reason = ?5, changed_by = ?6, changed_at = ?3 \
    WHERE plugin = ?1 AND target = ?2 AND state = 'OPEN' AND open_until <= ?3 AND ?4 IS NOT NULL";

const HOLD: &str = "\
    INSERT INTO breakers (plugin, target, state, trips, reason, changed_by, changed_at) \
    VALUES (?1, ?2, 'HELD', 0, ?5, ?6, ?3 + ?4) \
    ON CONFLICT (plugin, target) DO UPDATE SET state = 'HELD', trips = 0, open_until = NULL, \
    probe_until = NULL, reason = excluded.reason, changed_by = excluded.changed_by, \
    changed_at = excluded.changed_at WHERE breakers.state <> 'HELD'";

const LET_GO: &str = "\
    UPDATE breakers SET state = 'CLOSED', trips = 0, open_until = NULL, probe_until = NULL, \
    reason = ?5, changed_by = ?6, changed_at = ?3 \
    WHERE plugin = ?1 AND target = ?2 AND state <> 'CLOSED' AND ?4 IS NOT NULL";

#[async_trait]
impl BreakerStore for Sqlite {
    async fn breakers(&self) -> Result<Vec<Breaker>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(micros_of(now()))
            .fetch_all(&self.reads)
            .await
            .doing("read the breakers")?;
        rows.iter().map(row::breaker).collect()
    }

    async fn open_breaker(
        &self,
        key: &BreakerKey,
        open_for: Duration,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.change_breaker(OPEN, key, open_for, note).await
    }

    async fn take_probe(&self, key: &BreakerKey, probe_for: Duration) -> Result<bool, StoreError> {
        let nobody = ControlNote { reason: "", by: "" };
        let taken = self.change_breaker(PROBE, key, probe_for, nobody).await?;
        Ok(taken == ControlChange::Changed)
    }

    async fn close_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let closed = self.change_breaker(CLOSE, key, Duration::ZERO, note).await?;
        self.wake_if_changed(closed);
        Ok(closed)
    }

    async fn hold_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.change_breaker(HOLD, key, Duration::ZERO, note).await
    }

    async fn let_breaker_go(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let closed = self.change_breaker(LET_GO, key, Duration::ZERO, note).await?;
        self.wake_if_changed(closed);
        Ok(closed)
    }
}

impl Sqlite {
    async fn change_breaker(
        &self,
        sql: &'static str,
        key: &BreakerKey,
        duration: Duration,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        const DOING: &str = "change a breaker";
        let key = key.clone();
        let (reason, by) = (storable(note.reason), storable(note.by));
        let micros = micros(duration);
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    let changed = sqlx::query(sql)
                        .bind(key.plugin)
                        .bind(key.target)
                        .bind(micros_of(now()))
                        .bind(micros)
                        .bind(reason)
                        .bind(by)
                        .execute(c)
                        .await
                        .doing(DOING)?;
                    Ok(match changed.rows_affected() {
                        0 => Outcome::Undo(ControlChange::Already),
                        _ => Outcome::Keep(ControlChange::Changed),
                    })
                })
            })
            .await
    }

    fn wake_if_changed(&self, change: ControlChange) {
        if change == ControlChange::Changed {
            self.wakeup.send();
        }
    }
}
