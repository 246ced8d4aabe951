//! The plugins of a host that takes them from the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::error::CliError;
use super::host::HostPlan;
use crate::api::ReleaseRule;
use crate::domain::HostId;
use crate::jobs::ReleasesJob;
use crate::plugin::{Admission, Registry, Routes, SandboxEngine};
use crate::store::Store;

/// How late a change of releases may be seen if its wake-up is lost; and how often a canary's
/// figures are written.
const POLL: Duration = Duration::from_secs(1);

/// Where releases come from, and what is asked of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReleasesPlan {
    pub(super) from_store: bool,
    pub(super) hold_widening: bool,
    pub(super) prepare_within: Duration,
}

impl ReleasesPlan {
    pub(super) const fn rule(self) -> ReleaseRule {
        ReleaseRule { from_store: self.from_store, hold_widening: self.hold_widening }
    }
}

/// Loads what is live, before anything is claimed. The job follows the fleet from there.
pub(super) async fn open_releases(
    engine: &SandboxEngine,
    plan: &HostPlan<'_>,
    store: &Arc<dyn Store>,
    host: &HostId,
) -> Result<(Arc<Registry>, Option<ReleasesJob>), CliError> {
    let registry = Arc::new(Registry::new(Routes::default()));
    let job = ReleasesJob {
        store: Arc::clone(store) as _,
        registry: Arc::clone(&registry),
        admission: Arc::new(Admission::new(engine.clone(), Some(plan.cache.to_owned()))),
        host: host.clone(),
        poll: POLL,
        prepare_within: plan.releases.prepare_within,
        memory: Mutex::default(),
    };
    job.begin().await.map_err(|error| {
        CliError::failed(error.to_string(), plan.store.to_string(), "start the host again")
    })?;
    Ok((registry, Some(job)))
}
