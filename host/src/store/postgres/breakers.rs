//! Circuit breakers.

use std::time::Duration;

use async_trait::async_trait;

use super::Postgres;
use crate::store::error::Doing;
use crate::store::writes::{micros, storable};
use crate::store::{
    Breaker, BreakerKey, BreakerStore, ControlChange, ControlNote, StoreError, row,
};

const LIST: &str = "\
    SELECT plugin, target, state, trips::bigint AS trips, reason, changed_by, changed_at, \
    (extract(epoch FROM open_until - now()) * 1000000)::bigint AS left_micros, \
    (extract(epoch FROM now() - changed_at) * 1000000)::bigint AS ago_micros \
    FROM breakers ORDER BY plugin, target";

const OPEN: &str = "\
    INSERT INTO breakers (plugin, target, state, trips, open_until, reason, changed_by, changed_at) \
    VALUES ($1, $2, 'OPEN', 1, now() + $3 * interval '1 microsecond', $4, $5, now()) \
    ON CONFLICT (plugin, target) DO UPDATE SET state = 'OPEN', trips = breakers.trips + 1, \
    open_until = excluded.open_until, probe_until = NULL, reason = excluded.reason, \
    changed_by = excluded.changed_by, changed_at = excluded.changed_at \
    WHERE breakers.state = 'CLOSED' OR breakers.state = 'OPEN' AND breakers.open_until <= now()";

const PROBE: &str = "\
    UPDATE breakers SET probe_until = now() + $3 * interval '1 microsecond' \
    WHERE plugin = $1 AND target = $2 AND state = 'OPEN' AND open_until <= now() \
    AND (probe_until IS NULL OR probe_until <= now())";

/// The notification reaches every host; it is sent with the commit, and only if there is a change.
const CLOSE: &str = "\
    WITH closed AS (UPDATE breakers SET state = 'CLOSED', trips = 0, open_until = NULL, \
    probe_until = NULL, reason = $3, changed_by = $4, changed_at = now() \
    WHERE plugin = $1 AND target = $2 AND state = 'OPEN' AND open_until <= now() RETURNING 1) \
    SELECT pg_notify('tidegate_outbox', '') FROM closed";

const HOLD: &str = "\
    INSERT INTO breakers (plugin, target, state, trips, reason, changed_by, changed_at) \
    VALUES ($1, $2, 'HELD', 0, $3, $4, now()) \
    ON CONFLICT (plugin, target) DO UPDATE SET state = 'HELD', trips = 0, open_until = NULL, \
    probe_until = NULL, reason = excluded.reason, changed_by = excluded.changed_by, \
    changed_at = excluded.changed_at WHERE breakers.state <> 'HELD'";

const LET_GO: &str = "\
    WITH closed AS (UPDATE breakers SET state = 'CLOSED', trips = 0, open_until = NULL, \
    probe_until = NULL, reason = $3, changed_by = $4, changed_at = now() \
    WHERE plugin = $1 AND target = $2 AND state <> 'CLOSED' RETURNING 1) \
    SELECT pg_notify('tidegate_outbox', '') FROM closed";

#[async_trait]
impl BreakerStore for Postgres {
    async fn breakers(&self) -> Result<Vec<Breaker>, StoreError> {
        let rows = sqlx::query(LIST).fetch_all(&self.pool).await.doing("read the breakers")?;
        rows.iter().map(row::breaker).collect()
    }

    async fn open_breaker(
        &self,
        key: &BreakerKey,
        open_for: Duration,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let opened = sqlx::query(OPEN)
            .bind(&key.plugin)
            .bind(&key.target)
            .bind(micros(open_for))
            .bind(storable(note.reason))
            .bind(storable(note.by))
            .execute(&self.pool)
            .await
            .doing("open a breaker")?;
        Ok(change(opened.rows_affected()))
    }

    async fn take_probe(&self, key: &BreakerKey, probe_for: Duration) -> Result<bool, StoreError> {
        let taken = sqlx::query(PROBE)
            .bind(&key.plugin)
            .bind(&key.target)
            .bind(micros(probe_for))
            .execute(&self.pool)
            .await
            .doing("take a probe")?;
        Ok(taken.rows_affected() == 1)
    }

    async fn close_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.close_by(CLOSE, key, note).await
    }

    async fn hold_breaker(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let held = sqlx::query(HOLD)
            .bind(&key.plugin)
            .bind(&key.target)
            .bind(storable(note.reason))
            .bind(storable(note.by))
            .execute(&self.pool)
            .await
            .doing("hold a breaker")?;
        Ok(change(held.rows_affected()))
    }

    async fn let_breaker_go(
        &self,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.close_by(LET_GO, key, note).await
    }
}

impl Postgres {
    async fn close_by(
        &self,
        sql: &'static str,
        key: &BreakerKey,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        let closed = sqlx::query(sql)
            .bind(&key.plugin)
            .bind(&key.target)
            .bind(storable(note.reason))
            .bind(storable(note.by))
            .fetch_all(&self.pool)
            .await
            .doing("close a breaker")?;
        let change = change(closed.len() as u64);
        if change == ControlChange::Changed {
            self.wakeup.send();
        }
        Ok(change)
    }
}

fn change(rows: u64) -> ControlChange {
    if rows == 0 { ControlChange::Already } else { ControlChange::Changed }
}
