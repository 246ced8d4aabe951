//! The plugins of a host: where its releases come from, and what it misses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::CliError;
use crate::domain::{Flow, WithdrawalStatus};
use crate::plugin::{Admission, Registry, Routes, SandboxEngine, TrustedKeys, Watcher};

/// Where plugins lie, and how they are replaced.
pub(super) struct PluginsPlan<'a> {
    pub(super) folder: &'a Path,
    /// Where compiled components are kept.
    pub(super) cache: &'a Path,
    /// How long a replaced release may go on with what it has in hand.
    pub(super) drain: Duration,
    /// If set, one of these keys must have signed each component.
    pub(super) trusted: Option<TrustedKeys>,
}

/// Loads what lies in the folder. The watcher follows it, once it is run.
pub(super) async fn open_plugins(
    engine: &SandboxEngine,
    plan: &PluginsPlan<'_>,
    flow: &Flow,
) -> Result<(Arc<Registry>, Watcher), CliError> {
    let registry = Arc::new(Registry::new(Routes::default()).with_drain(plan.drain));
    let admission = Admission::new(engine.clone(), Some(plan.cache.to_owned()))
        .requiring_signature(plan.trusted.clone());
    let folder = plan.folder.to_owned();
    let watcher = Watcher::start(folder, Arc::new(admission), Arc::clone(&registry)).await;
    let watcher = watcher.map_err(|error| {
        let place = plan.folder.display().to_string();
        CliError::failed(error.to_string(), place, "make the folder, or correct plugins.dir")
    })?;
    warn_of_missing_plugins(&registry.current(), flow);
    Ok((registry, watcher))
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
