//! Reading releases, and what a row of theirs means.

use std::time::Duration;

use super::Statements;
use crate::domain::{CanaryPlan, ReleaseName, ReleaseState, ShadowPlan, Share};
use crate::store::row::{ColumnError, Columns, named, one_of};
use crate::store::{DecisionKind, PluginRelease, PluginStanding, ReleaseDecision, StoreError};

pub(super) const DOING: &str = "read releases";

/// The columns of a release.
fn columns<C: Statements>(c: &C) -> String {
    let age = c.age("state_at");
    format!(
        "plugin, number, digest, manifest, manifest_digest, signature, state, reason, canary_share, \
         canary_events, shadow_share, shadow_events, created_by, created_at, state_at, {age} AS state_age, live_at"
    )
}

/// The releases that a condition finds.
pub(super) async fn releases<C: Statements>(
    c: &mut C,
    doing: &'static str,
    condition: &str,
    values: Vec<super::Value>,
) -> Result<Vec<PluginRelease>, StoreError> {
    let sql = format!("SELECT {} FROM plugin_releases {condition}", columns(c));
    c.rows(doing, &sql, values).await?.iter().map(decode).collect()
}

pub(super) async fn release<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
) -> Result<Option<PluginRelease>, StoreError> {
    let values = vec![name.plugin.as_str().into(), name.number.into()];
    let condition = "WHERE plugin = $1 AND number = $2";
    Ok(releases(c, DOING, condition, values).await?.pop())
}

/// A plugin's live release and its candidate.
pub(super) async fn current<C: Statements>(
    c: &mut C,
    doing: &'static str,
    plugin: &str,
) -> Result<(Option<PluginRelease>, Option<PluginRelease>), StoreError> {
    let condition = "WHERE plugin = $1 AND state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW', 'LIVE') \
         ORDER BY number";
    Ok(split(releases(c, doing, condition, vec![plugin.into()]).await?))
}

fn split(releases: Vec<PluginRelease>) -> (Option<PluginRelease>, Option<PluginRelease>) {
    let (candidates, live): (Vec<_>, Vec<_>) =
        releases.into_iter().partition(|release| release.state.is_candidate());
    (live.into_iter().next(), candidates.into_iter().next())
}

pub(super) async fn plugins<C: Statements>(c: &mut C) -> Result<Vec<PluginStanding>, StoreError> {
    let condition =
        "WHERE state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW', 'LIVE') ORDER BY plugin, number";
    let mut releases = releases(c, DOING, condition, Vec::new()).await?;
    let sql =
        "SELECT plugin, disabled, reason, changed_by, changed_at FROM plugins ORDER BY plugin";
    let rows = c.rows(DOING, sql, Vec::new()).await?;
    let mut plugins = Vec::with_capacity(rows.len());
    for row in &rows {
        plugins.push(named("plugins", "plugin", row, |row| {
            let plugin = row.text("plugin")?;
            let own = releases.extract_if(.., |release| release.name.plugin == plugin).collect();
            let (live, candidate) = split(own);
            Ok(PluginStanding {
                plugin,
                disabled: row.flag("disabled")?,
                reason: row.text("reason")?,
                changed_by: row.text("changed_by")?,
                changed_at: row.time("changed_at")?,
                live,
                candidate,
            })
        })?);
    }
    Ok(plugins)
}

pub(super) async fn history<C: Statements>(
    c: &mut C,
    plugin: String,
    limit: u32,
) -> Result<(Vec<PluginRelease>, Vec<ReleaseDecision>), StoreError> {
    let values = || vec![plugin.as_str().into(), limit.into()];
    let condition = "WHERE plugin = $1 ORDER BY number DESC LIMIT $2";
    let releases = releases(c, DOING, condition, values()).await?;
    let sql = "SELECT plugin, number, kind, reason, decided_by, decided_at FROM release_decisions \
               WHERE plugin = $1 ORDER BY id DESC LIMIT $2";
    let decisions =
        c.rows(DOING, sql, values()).await?.iter().map(decision).collect::<Result<_, _>>()?;
    Ok((releases, decisions))
}

pub(super) async fn component<C: Statements>(
    c: &mut C,
    digest: String,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT digest, bytes FROM component_artifacts WHERE digest = $1 \
               AND bytes IS NOT NULL";
    let rows = c.rows(DOING, sql, vec![digest.into()]).await?;
    rows.first()
        .map(|row| named("component_artifacts", "digest", row, |row| row.bytes("bytes")))
        .transpose()
}

fn decode<R: Columns>(row: &R) -> Result<PluginRelease, StoreError> {
    named("plugin_releases", "plugin", row, |row| {
        let state: ReleaseState = row.parse("state")?;
        let canary = plan(row, "canary")?.map(|(share, events)| CanaryPlan { share, events });
        let shadow = plan(row, "shadow")?.map(|(share, events)| ShadowPlan { share, events });
        // Clocks may have been set back.
        let age = u64::try_from(row.integer("state_age")?).unwrap_or(0);
        Ok(PluginRelease {
            name: ReleaseName { plugin: row.text("plugin")?, number: row.count("number")? },
            digest: row.text("digest")?,
            manifest: row.text("manifest")?,
            manifest_digest: row.text("manifest_digest")?,
            signature: row.text_or_null("signature")?,
            state,
            reason: row.text_or_null("reason")?,
            canary,
            shadow,
            created_by: row.text("created_by")?,
            created_at: row.time("created_at")?,
            state_at: row.time("state_at")?,
            state_age: Duration::from_micros(age),
            live_at: row.time_or_null("live_at")?,
        })
    })
}

/// The share and the events of a release's trial, if it has one of this kind.
fn plan<R: Columns>(row: &R, trial: &str) -> Result<Option<(Share, u64)>, ColumnError> {
    let (share, events) = (format!("{trial}_share"), format!("{trial}_events"));
    match (row.integer_or_null(&share)?, row.integer_or_null(&events)?) {
        (None, None) => Ok(None),
        (Some(hundredths), Some(_)) => {
            let found = u64::try_from(hundredths).ok().and_then(Share::of_hundredths);
            let found = found.ok_or_else(|| format!("{share} is out of range"))?;
            Ok(Some((found, row.count(&events)?)))
        }
        _ => Err(format!("{share} and {events} do not go together")),
    }
}

fn decision<R: Columns>(row: &R) -> Result<ReleaseDecision, StoreError> {
    named("release_decisions", "plugin", row, |row| {
        let number = row.integer_or_null("number")?.map(u32::try_from).transpose();
        Ok(ReleaseDecision {
            number: number.map_err(|_| "number is out of range".to_owned())?,
            kind: one_of(&DecisionKind::ALL, DecisionKind::as_str, &row.text("kind")?)?,
            reason: row.text("reason")?,
            by: row.text("decided_by")?,
            at: row.time("decided_at")?,
        })
    })
}
