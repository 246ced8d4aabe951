//! The hosts that are alive, and what each made of a release.

use std::time::Duration;

use super::statements::tell_others;
use super::{Outcome, Statements};
use crate::domain::{HostStanding, HostVerdict, ReleaseName};
use crate::store::row::{Columns, named};
use crate::store::writes::micros;
use crate::store::{HOST_GONE_AFTER, StoreError};

pub(super) const DOING: &str = "hear of hosts";

/// Long enough for people to see who was there.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn check_in<C: Statements>(
    c: &mut C,
    host: String,
) -> Result<Outcome<()>, StoreError> {
    let sql = "INSERT INTO hosts (host, started_at, seen_at) VALUES ($1, {now}, {now}) \
               ON CONFLICT (host) DO UPDATE SET seen_at = {now}";
    c.execute(DOING, sql, vec![host.into()]).await?;
    let forgotten = c.dialect().at(-micros(FORGOTTEN_AFTER));
    // Its tallies stay: a canary is judged by what dead hosts saw, too.
    let reports = format!(
        "DELETE FROM host_releases WHERE host IN \
         (SELECT host FROM hosts WHERE seen_at < {forgotten})"
    );
    c.execute(DOING, &reports, Vec::new()).await?;
    let hosts = format!("DELETE FROM hosts WHERE seen_at < {forgotten}");
    c.execute(DOING, &hosts, Vec::new()).await?;
    Ok(Outcome::Keep(()))
}

pub(super) async fn check_out<C: Statements>(
    c: &mut C,
    host: String,
) -> Result<Outcome<()>, StoreError> {
    for sql in ["DELETE FROM host_releases WHERE host = $1", "DELETE FROM hosts WHERE host = $1"] {
        c.execute(DOING, sql, vec![host.as_str().into()]).await?;
    }
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(()))
}

pub(super) async fn report<C: Statements>(
    c: &mut C,
    host: String,
    release: ReleaseName,
    verdict: HostVerdict,
) -> Result<Outcome<bool>, StoreError> {
    let (verdict, reason) = match verdict {
        HostVerdict::Prepared => ("prepared", None),
        HostVerdict::Live => ("live", None),
        HostVerdict::Rejected { reason } => ("rejected", Some(reason)),
    };
    let sql = "INSERT INTO host_releases (host, plugin, number, verdict, reason, reported_at) \
               VALUES ($1, $2, $3, $4, $5, {now}) ON CONFLICT (host, plugin, number) \
               DO UPDATE SET verdict = excluded.verdict, reason = excluded.reason, \
               reported_at = excluded.reported_at WHERE host_releases.verdict <> excluded.verdict";
    let values = vec![
        host.into(),
        release.plugin.into(),
        release.number.into(),
        verdict.into(),
        reason.as_deref().into(),
    ];
    if c.execute(DOING, sql, values).await? == 0 {
        return Ok(Outcome::Undo(false));
    }
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(true))
}

pub(super) async fn standings<C: Statements>(
    c: &mut C,
    release: &ReleaseName,
) -> Result<Vec<HostStanding>, StoreError> {
    let alive = c.dialect().at(-micros(HOST_GONE_AFTER));
    let sql = format!(
        "SELECT hosts.host, r.verdict, r.reason FROM hosts LEFT JOIN host_releases AS r \
         ON r.host = hosts.host AND r.plugin = $1 AND r.number = $2 \
         WHERE hosts.seen_at >= {alive} ORDER BY hosts.host"
    );
    let values = vec![release.plugin.as_str().into(), release.number.into()];
    c.rows(DOING, &sql, values).await?.iter().map(decode).collect()
}

fn decode<R: Columns>(row: &R) -> Result<HostStanding, StoreError> {
    named("host_releases", "host", row, |row| {
        let verdict = match (row.text_or_null("verdict")?.as_deref(), row.text_or_null("reason")?) {
            (None, None) => None,
            (Some("prepared"), None) => Some(HostVerdict::Prepared),
            (Some("live"), None) => Some(HostVerdict::Live),
            (Some("rejected"), Some(reason)) => Some(HostVerdict::Rejected { reason }),
            (verdict, reason) => return Err(format!("verdict {verdict:?} with {reason:?}")),
        };
        Ok(HostStanding { host: row.text("host")?, verdict })
    })
}
