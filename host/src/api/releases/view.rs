//! What the API shows of releases.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{CanaryTallies, HostStanding, HostVerdict, ShadowTally, Share, Tally};
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
    canary: Option<TrialView>,
    shadow: Option<TrialView>,
    created_by: String,
    created_at: String,
    state_at: String,
    live_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct TrialView {
    /// Such as `5%`.
    share: String,
    events: u64,
}

impl From<PluginRelease> for ReleaseView {
    fn from(release: PluginRelease) -> Self {
        let trial = |share: Share, events| TrialView { share: share.to_string(), events };
        Self {
            plugin: release.name.plugin,
            number: release.name.number,
            digest: release.digest,
            manifest_digest: release.manifest_digest,
            signed: release.signature.is_some(),
            state: release.state.as_str(),
            reason: release.reason,
            canary: release.canary.map(|plan| trial(plan.share, plan.events)),
            shadow: release.shadow.map(|plan| trial(plan.share, plan.events)),
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
    /// Of a shadow, since it began.
    shadow_report: Option<ShadowReportView>,
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
        shadow: Option<ShadowTally>,
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
        let number = release.name.number;
        Self {
            shadow_report: shadow.map(|tally| ShadowReportView::new(number, tally)),
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

/// What was counted of a shadow, by all hosts together.
#[derive(Debug, Serialize)]
struct ShadowReportView {
    /// The release's.
    number: u32,
    /// Copies that were compared: the next two together.
    copies: u64,
    same: u64,
    different: u64,
    /// Attempts of the share that were not compared.
    skipped: u64,
    /// By the reason.
    skips: Vec<CountView>,
    /// Copies by their differences; one may have several.
    differences: Vec<CountView>,
    examples: Vec<ExampleView>,
}

#[derive(Debug, Serialize)]
struct CountView {
    kind: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct ExampleView {
    event_id: String,
    /// In words.
    differences: Vec<String>,
}

impl ShadowReportView {
    fn new(number: u32, tally: ShadowTally) -> Self {
        let (copies, skipped) = (tally.copies(), tally.skips());
        let ShadowTally { same, different, skipped: skips, differences, examples } = tally;
        let skips =
            skips.into_iter().map(|(reason, count)| CountView { kind: reason.as_str(), count });
        let differences =
            differences.into_iter().map(|(kind, count)| CountView { kind: kind.as_str(), count });
        let examples = examples.into_iter().map(|example| ExampleView {
            event_id: example.event.to_string(),
            differences: example.differences.into_iter().map(|it| it.text).collect(),
        });
        Self {
            number,
            copies,
            same,
            different,
            skipped,
            skips: skips.collect(),
            differences: differences.collect(),
            examples: examples.collect(),
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
    /// Of those among the releases that were shadows, newest first.
    shadow_reports: Vec<ShadowReportView>,
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
        mut shadows: BTreeMap<u32, ShadowTally>,
    ) -> Self {
        let number = |release: Option<PluginRelease>| release.map(|release| release.name.number);
        let decision = |decision: ReleaseDecision| DecisionView {
            number: decision.number,
            kind: decision.kind.as_str(),
            reason: decision.reason,
            by: decision.by,
            at: time(decision.at),
        };
        let reports = releases.iter().filter(|release| release.shadow.is_some()).map(|release| {
            let number = release.name.number;
            ShadowReportView::new(number, shadows.remove(&number).unwrap_or_default())
        });
        Self {
            shadow_reports: reports.collect(),
            plugin: standing.plugin,
            disabled: standing.disabled,
            live: number(standing.live),
            candidate: number(standing.candidate),
            releases: releases.into_iter().map(ReleaseView::from).collect(),
            decisions: decisions.into_iter().map(decision).collect(),
        }
    }
}
