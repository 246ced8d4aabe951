//! The plugins of a host: where its releases come from, who follows them, and what it misses.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::CliError;
use crate::api::ReleaseRule;
use crate::domain::{Flow, HostId, WithdrawalStatus};
use crate::jobs::{Metrics, ReleasesJob, StoreApprovals};
use crate::plugin::{Admission, Approvals, Registry, Routes, SandboxEngine, TrustedKeys, Watcher};
use crate::store::Store;

/// How late a change of releases in the store may be seen if its wake-up is lost; and how often a
/// canary's figures are written.
const RELEASES_POLL: Duration = Duration::from_secs(1);

/// Where plugins come from, and how they are replaced.
pub(super) struct PluginsPlan<'a> {
    pub(super) folder: &'a Path,
    /// Where compiled components are kept.
    pub(super) cache: &'a Path,
    /// How long a replaced release may go on with what it has in hand.
    pub(super) drain: Duration,
    /// Whether they come from the store, and when a release must be approved.
    pub(super) rule: ReleaseRule,
    /// How long all hosts together have for a new release of the store.
    pub(super) prepare_within: Duration,
    /// If set, one of these keys must have signed each component.
    pub(super) trusted: Option<TrustedKeys>,
}

/// What is live, and who keeps it so.
pub(super) struct Opened {
    pub(super) registry: Arc<Registry>,
    pub(super) follower: Follower,
}

/// Follows what releases there are to be.
pub(super) enum Follower {
    Folder(Watcher),
    Store(Box<ReleasesJob>),
}

impl Follower {
    pub(super) async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        match self {
            Self::Folder(watcher) => watcher.run(stop).await,
            Self::Store(job) => job.run(metrics, stop).await,
        }
    }
}

/// Loads what is to be live, before anything is claimed. The follower goes on from there, once it
/// is run.
pub(super) async fn open_plugins(
    engine: &SandboxEngine,
    plan: &PluginsPlan<'_>,
    store: &Arc<dyn Store>,
    host: &HostId,
    flow: &Flow,
) -> Result<Opened, CliError> {
    let registry = Arc::new(Registry::new(Routes::default()).with_drain(plan.drain));
    let admission = Admission::new(engine.clone(), Some(plan.cache.to_owned()))
        .requiring_signature(plan.trusted.clone());
    let admission = Arc::new(admission);
    let follower = if plan.rule.from_store {
        let job = ReleasesJob {
            store: Arc::clone(store) as _,
            registry: Arc::clone(&registry),
            admission,
            host: host.clone(),
            poll: RELEASES_POLL,
            prepare_within: plan.prepare_within,
            memory: Mutex::default(),
        };
        job.begin().await.map_err(|error| {
            CliError::failed(error.to_string(), "the store", "start the host again")
        })?;
        Follower::Store(Box::new(job))
    } else {
        let folder = plan.folder.to_owned();
        let approvals = plan
            .rule
            .hold_widening
            .then(|| Arc::new(StoreApprovals(Arc::clone(store) as _)) as Arc<dyn Approvals>);
        let watcher = Watcher::start(folder, admission, Arc::clone(&registry), approvals).await;
        Follower::Folder(watcher.map_err(|error| {
            let place = plan.folder.display().to_string();
            CliError::failed(error.to_string(), place, "make the folder, or correct plugins.dir")
        })?)
    };
    warn_of_missing_plugins(&registry.current(), flow);
    Ok(Opened { registry, follower })
}

/// Their events wait, and never fail, for want of a plugin; but somebody should know.
fn warn_of_missing_plugins(routes: &Routes, flow: &Flow) {
    for status in WithdrawalStatus::ALL {
        for event_type in flow.event_types(status) {
            if routes.of_type(event_type).next().is_none() {
                tracing::warn!(%event_type, "no route: no plugin handles this type, so its events will wait as PENDING");
            }
        }
    }
}
