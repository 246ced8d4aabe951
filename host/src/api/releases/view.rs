//! What the API shows of releases.

use serde::Serialize;

use crate::domain::{CanaryTallies, HostStanding, HostVerdict, Tally};
use crate::store::{PluginRelease, PluginStanding, ReleaseDecision};

use super::super::view::time;

#[derive(Debug, Serialize)]
pub(in crate::api) struct ReleaseView {
    plugin: String,
    number: u32,
    digest: String,
    manifest_digest: String,
    signed: bool,
    state: &'static str,
    reason: Option<String>,
    canary: Option<CanaryView>,
    created_by: String,
    created_at: String,
    state_at: String,
    live_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct CanaryView {
    /// Such as `5%`.
    share: String,
    events: u64,
}

impl From<PluginRelease> for ReleaseView {
    fn from(release: PluginRelease) -> Self {
        Self {
            plugin: release.name.plugin,
            number: release.name.number,
            digest: release.digest,
            manifest_digest: release.manifest_digest,
            signed: release.signature.is_some(),
            state: release.state.as_str(),
            reason: release.reason,
            canary: release
                .canary
                .map(|plan| CanaryView { share: plan.share.to_string(), events: plan.events }),
            created_by: release.created_by,
            created_at: time(release.created_at),
            state_at: time(release.state_at),
            live_at: release.live_at.map(time),
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::api) struct ReleaseDetailView {
    release: ReleaseView,
    manifest: String,
    /// Those that are alive.
    hosts: Vec<HostView>,
    /// Of a canary, since it began.
    tallies: Option<TalliesView>,
}

#[derive(Debug, Serialize)]
struct HostView {
    host: String,
    /// None: it is at it.
    verdict: Option<&'static str>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct TalliesView {
    live: TallyView,
    canary: TallyView,
}

#[derive(Debug, Serialize)]
struct TallyView {
    handled: u64,
    failed: u64,
    p95_ms: Option<f64>,
}

impl From<Tally> for TallyView {
    fn from(tally: Tally) -> Self {
        let p95_ms = tally.p95().map(|p95| p95.as_secs_f64() * 1e3);
        Self { handled: tally.handled, failed: tally.failed, p95_ms }
    }
}

impl ReleaseDetailView {
    pub(super) fn new(
        release: PluginRelease,
        hosts: Vec<HostStanding>,
        tallies: Option<CanaryTallies>,
    ) -> Self {
        let view = |HostStanding { host, verdict }| {
            let (verdict, reason) = match verdict {
                None => (None, None),
                Some(HostVerdict::Prepared) => (Some("prepared"), None),
                Some(HostVerdict::Live) => (Some("live"), None),
                Some(HostVerdict::Rejected { reason }) => (Some("rejected"), Some(reason)),
            };
            HostView { host, verdict, reason }
        };
        Self {
            manifest: release.manifest.clone(),
            release: release.into(),
            hosts: hosts.into_iter().map(view).collect(),
            tallies: tallies.map(|CanaryTallies { live, canary }| TalliesView {
                live: live.into(),
                canary: canary.into(),
            }),
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::api) struct HistoryView {
    plugin: String,
    disabled: bool,
    /// The number of the live release.
    live: Option<u32>,
    /// The number of the one that may become it.
    candidate: Option<u32>,
    releases: Vec<ReleaseView>,
    decisions: Vec<DecisionView>,
}

#[derive(Debug, Serialize)]
struct DecisionView {
    number: Option<u32>,
    kind: &'static str,
    reason: String,
    by: String,
    at: String,
}

impl HistoryView {
    pub(super) fn new(
        standing: PluginStanding,
        releases: Vec<PluginRelease>,
        decisions: Vec<ReleaseDecision>,
    ) -> Self {
        let number = |release: Option<PluginRelease>| release.map(|release| release.name.number);
        let decision = |decision: ReleaseDecision| DecisionView {
            number: decision.number,
            kind: decision.kind.as_str(),
            reason: decision.reason,
            by: decision.by,
            at: time(decision.at),
        };
        Self {
            plugin: standing.plugin,
            disabled: standing.disabled,
            live: number(standing.live),
            candidate: number(standing.candidate),
            releases: releases.into_iter().map(ReleaseView::from).collect(),
            decisions: decisions.into_iter().map(decision).collect(),
        }
    }
}
