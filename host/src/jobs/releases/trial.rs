//! Releases that are tried before they are live: on a share of the events, or on copies of them.

use std::sync::Arc;

use super::ReleasesJob;
use crate::domain::{ReleaseName, ReleaseState, ShadowTally};
use crate::plugin::{Canary, Release, Shadow};
use crate::store::{PluginRelease, PluginStanding, StoreError};

impl ReleasesJob {
    /// Begins a candidate's trial here, if it is time and it has not begun, or ends it.
    pub(super) fn try_out(
        &self,
        plugin: &PluginStanding,
        candidate: &PluginRelease,
        release: Arc<Release>,
    ) {
        let name = plugin.plugin.as_str();
        let state = Some(candidate.state).filter(|_| !plugin.disabled);
        self.end_trials_but(name, state);
        let Some(live) = self.registry.current().of_plugin(name).cloned() else { return };
        match (state, candidate.canary, candidate.shadow) {
            (Some(ReleaseState::Canary), Some(plan), _) => {
                let canaries = self.registry.canaries();
                let tried = canaries.current().of_plugin(name).map(|canary| canary.name.clone());
                if tried.as_ref() != Some(&candidate.name) {
                    tracing::info!(job = Self::NAME, release = %candidate.name, share = %plan.share, "canary begins");
                    let canary = Canary::new(candidate.name.clone(), release, plan.share);
                    canaries.begin(canary, &live);
                }
            }
            (Some(ReleaseState::Shadow), _, Some(plan)) => {
                let shadows = self.registry.shadows();
                let tried = shadows.of_plugin(name).map(|shadow| shadow.name.clone());
                if tried.as_ref() != Some(&candidate.name) {
                    tracing::info!(job = Self::NAME, release = %candidate.name, share = %plan.share, "shadow begins");
                    shadows.begin(Shadow::new(candidate.name.clone(), release, plan));
                }
            }
            _ => {}
        }
    }

    /// Ends what is tried of a plugin here, but for what its candidate in this state is tried by.
    pub(super) fn end_trials_but(&self, plugin: &str, candidate: Option<ReleaseState>) {
        if candidate != Some(ReleaseState::Canary) {
            self.registry.canaries().end(plugin);
        }
        if candidate != Some(ReleaseState::Shadow) {
            self.registry.shadows().end(plugin);
        }
    }

    /// Writes what this host counted of its canary since the last pass.
    pub(super) async fn keep_tallies(&self, name: &ReleaseName) -> Result<(), StoreError> {
        let canaries = self.registry.canaries().current();
        let Some(canary) = canaries.of_plugin(&name.plugin).filter(|it| it.name == *name) else {
            return Ok(());
        };
        let tallies = canary.tallies();
        if self.memory().tallies.get(name) == Some(&tallies) {
            return Ok(());
        }
        self.store.keep_tallies(&self.host, name, &tallies).await?;
        self.memory().tallies.insert(name.clone(), tallies);
        Ok(())
    }

    /// Writes what this host counted of its shadow since the last pass, and tells the shadow how many
    /// copies all hosts have compared.
    pub(super) async fn keep_shadow_tally(
        &self,
        candidate: &PluginRelease,
    ) -> Result<(), StoreError> {
        let name = &candidate.name;
        let shadow = self.registry.shadows().of_plugin(&name.plugin);
        let Some(shadow) = shadow.filter(|it| it.name == *name) else { return Ok(()) };
        let tally = shadow.tally();
        if self.memory().shadow_tallies.get(name) != Some(&tally) {
            self.store.keep_shadow_tally(&self.host, name, &tally).await?;
            self.memory().shadow_tallies.insert(name.clone(), tally);
        }
        let sums = self.store.shadow_tallies(&name.plugin).await?;
        shadow.heard_of(sums.get(&name.number).map_or(0, ShadowTally::copies));
        Ok(())
    }
}
