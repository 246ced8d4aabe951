//! Which release failed what, and another chance for what it failed.

use super::{Outcome, Statements};
use crate::domain::{EventId, ReleaseName};
use crate::store::checks::Dialect;
use crate::store::row::{ColumnError, Columns, named};
use crate::store::{FAILURES_MAX, FailureGroup, StoreError};

pub(super) const DOING: &str = "look at failures";

pub(super) async fn failures<C: Statements>(c: &mut C) -> Result<Vec<FailureGroup>, StoreError> {
    // Postgres has no least of UUIDs; as texts they have the same order.
    let sql = format!(
        "SELECT f.release_digest, f.event_type, f.failure_code, coalesce(f.last_error, '') AS \
         reason, count(*) AS number, min(f.id) AS example, min(f.updated_at) AS first_at, \
         max(f.updated_at) AS last_at, \
         (SELECT r.plugin FROM plugin_releases AS r WHERE r.digest = f.release_digest \
          ORDER BY r.created_at DESC LIMIT 1) AS plugin, \
         (SELECT r.number FROM plugin_releases AS r WHERE r.digest = f.release_digest \
          ORDER BY r.created_at DESC LIMIT 1) AS release_number, \
         (SELECT r.state FROM plugin_releases AS r WHERE r.digest = f.release_digest \
          ORDER BY r.created_at DESC LIMIT 1) AS release_state \
         FROM (SELECT CAST(id AS text) AS id, release_digest, \
          CAST(event_type AS text) AS event_type, failure_code, last_error, updated_at \
          FROM outbox_events WHERE status = 'FAILED' AND failure_code IS NOT NULL AND skipped_at IS NULL \
          ORDER BY outbox_events.id DESC LIMIT {FAILURES_MAX}) AS f \
         GROUP BY f.release_digest, f.event_type, f.failure_code, f.last_error \
         ORDER BY count(*) DESC, min(f.id) LIMIT 200"
    );
    c.rows(DOING, &sql, Vec::new()).await?.iter().map(decode).collect()
}

fn decode<R: Columns>(row: &R) -> Result<FailureGroup, StoreError> {
    named("outbox_events", "example", row, |row| {
        let example: EventId = row.parse("example")?;
        Ok(FailureGroup {
            release_digest: row.text_or_null("release_digest")?,
            release: release_of(row)?,
            event_type: row.parse("event_type")?,
            code: row.parse("failure_code")?,
            reason: row.text("reason")?,
            count: row.count("number")?,
            example,
            first_at: row.time("first_at")?,
            last_at: row.time("last_at")?,
        })
    })
}

fn release_of<R: Columns>(
    row: &R,
) -> Result<Option<(ReleaseName, crate::domain::ReleaseState)>, ColumnError> {
    let Some(plugin) = row.text_or_null("plugin")? else { return Ok(None) };
    let name = ReleaseName { plugin, number: row.count("release_number")? };
    Ok(Some((name, row.parse("release_state")?)))
}

pub(super) async fn replay<C: Statements>(
    c: &mut C,
    digest: String,
    reason: Option<String>,
    limit: u32,
    by: String,
) -> Result<Outcome<u64>, StoreError> {
    // Rows that another is just replaying are passed over.
    let (locked, id) = match c.dialect() {
        Dialect::Postgres => ("FOR UPDATE SKIP LOCKED", "CAST($1 AS uuid)"),
        Dialect::Sqlite { .. } => ("", "$1"),
    };
    let sql = format!(
        "SELECT CAST(id AS text) AS event FROM outbox_events WHERE status = 'FAILED' \
         AND failure_code IS NOT NULL AND skipped_at IS NULL AND release_digest = $1 \
         AND (CAST($2 AS text) IS NULL OR last_error = $2) ORDER BY id LIMIT $3 {locked}"
    );
    let values = vec![digest.into(), reason.as_deref().into(), limit.into()];
    let rows = c.rows(DOING, &sql, values).await?;
    if rows.is_empty() {
        return Ok(Outcome::Undo(0));
    }
    // As a single replay does it: see `OperateStore::replay`.
    let update = format!(
        "UPDATE outbox_events SET status = 'PENDING', failure_code = NULL, skipped_at = NULL, \
         attempt_count = 0, interruption_count = 0, deferral_count = 0, available_at = {{now}}, \
         valid_until = NULL, updated_at = {{now}} WHERE id = {id} AND status = 'FAILED'"
    );
    let insert = format!(
        "INSERT INTO outbox_attempts (event_id, kind, attempt, reason, started_at, ended_at) \
         VALUES ({id}, 'replayed', 0, $2, {{now}}, {{now}})"
    );
    let mut replayed = 0;
    for row in &rows {
        let event = named("outbox_events", "event", row, |row| row.text("event"))?;
        if c.execute(DOING, &update, vec![event.as_str().into()]).await? == 1 {
            c.execute(DOING, &insert, vec![event.into(), by.as_str().into()]).await?;
            replayed += 1;
        }
    }
    if let Dialect::Postgres = c.dialect() {
        c.execute(DOING, "SELECT pg_notify('tidegate_outbox', '')", Vec::new()).await?;
    }
    Ok(Outcome::Keep(replayed))
}
