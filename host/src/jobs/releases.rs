//! ReleasesJob: brings this host's plugins to what the fleet wants, says what it made of each
//! release, and takes the steps that a release goes by itself.
//!
//! Every host does the same, and any of them may take a step first; the store sees to it that it is
//! taken once. Nothing here needs a restart, and every pass begins from what the store says.

mod load;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cycle;
use super::metrics::Metrics;
use crate::domain::{
    CanaryTallies, HostId, HostVerdict, ReleaseName, ReleaseState, RolloutDecision, RolloutFacts,
    ShadowTally, decide_rollout,
};
use crate::plugin::{Admission, Manifest, PluginState, Refusal, Registry, Release};
use crate::store::{HOST_GONE_AFTER, PluginRelease, PluginStanding, ReleaseStore, StoreError};

/// Between two signs of life: a few may be lost before others take this host for dead.
const BEAT: Duration = Duration::from_secs(2);

/// Hints that come together are one: a deploy to many hosts makes as many.
const GATHER: Duration = Duration::from_millis(20);

const _: () = assert!(BEAT.as_millis() * 4 < HOST_GONE_AFTER.as_millis());

pub struct ReleasesJob {
    pub store: Arc<dyn ReleaseStore>,
    pub registry: Arc<Registry>,
    pub admission: Arc<Admission>,
    pub host: HostId,
    /// How late a change may be seen if its wake-up is lost.
    pub poll: Duration,
    /// How long all hosts together have for a release before it is rejected.
    pub prepare_within: Duration,
    pub memory: Mutex<Memory>,
}

/// What this host has, and has said.
#[derive(Default)]
pub struct Memory {
    /// What became of each release that is wanted.
    loaded: BTreeMap<ReleaseName, Result<Arc<Release>, String>>,
    reported: BTreeMap<ReleaseName, HostVerdict>,
    tallies: BTreeMap<ReleaseName, CanaryTallies>,
    shadow_tallies: BTreeMap<ReleaseName, ShadowTally>,
    /// What is shown of each plugin that is not as it should be.
    shown: BTreeMap<String, PluginState>,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReleasesPass {
    pub loaded: usize,
    pub steps: usize,
}

impl ReleasesJob {
    const NAME: &'static str = "ReleasesJob";

    /// One look at what the fleet wants, and everything that follows from it for this host.
    ///
    /// # Errors
    /// The store's. What was done before stays, and the next pass goes on from there.
    pub async fn run_once(&self) -> Result<ReleasesPass, StoreError> {
        let plugins = self.store.plugins().await?;
        let mut pass = ReleasesPass::default();
        self.forget_unwanted(&plugins);
        // What is live first, so that it never waits for the compiler of a candidate.
        for plugin in &plugins {
            if let Some(live) = &plugin.live {
                pass.loaded += usize::from(self.load(live).await?);
            }
            self.apply(plugin).await?;
        }
        for plugin in &plugins {
            let Some(candidate) = &plugin.candidate else { continue };
            match candidate.state {
                ReleaseState::Preparing | ReleaseState::Canary | ReleaseState::Shadow => {
                    pass.loaded += usize::from(self.load(candidate).await?);
                    self.prepare(plugin, candidate).await?;
                    pass.steps += usize::from(self.step(plugin, candidate).await?);
                }
                ReleaseState::Held
                | ReleaseState::Live
                | ReleaseState::Retired
                | ReleaseState::RolledBack
                | ReleaseState::Rejected
                | ReleaseState::Superseded => {}
            }
        }
        Ok(pass)
    }

    /// The first pass of a host: when it returns, whatever is live is live here.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(&self) -> Result<(), StoreError> {
        self.store.check_in(&self.host).await?;
        self.alive(self.run_once()).await.map(drop)
    }

    /// Runs until `stop`; then nobody waits for this host any more.
    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let job = Self::NAME;
        tracing::info!(job, "started");
        self.alive(self.make_passes(&metrics, &stop)).await;
        if let Err(error) = self.store.check_out(&self.host).await {
            tracing::warn!(job, %error, "the fleet was not told that this host stops");
        }
        tracing::info!(job, "stopped");
    }

    async fn make_passes(&self, metrics: &Metrics, stop: &CancellationToken) {
        let job = Self::NAME;
        let mut wakeups = self.store.release_wakeups();
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            // Seen before the pass, so that a hint that comes during it is not lost.
            wakeups.borrow_and_update();
            let pause = match self.run_once().await {
                Ok(pass) => {
                    failures = 0;
                    metrics.passed(job);
                    if pass.steps > 0 {
                        continue;
                    }
                    self.poll
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let pause = cycle::backoff(self.poll, failures);
                    tracing::warn!(job, %error, "a pass failed; the next one in {} ms", pause.as_millis());
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                changed = wakeups.changed(), if failures == 0 => if changed.is_ok() {
                    tokio::time::sleep(GATHER).await;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Shows that this host is alive while something goes on, however long a compiler needs.
    async fn alive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(BEAT) => {
                    if let Err(error) = self.store.check_in(&self.host).await {
                        tracing::warn!(job = Self::NAME, %error, "the fleet was not told that this host is alive");
                    }
                }
            }
        }
    }

    /// Lets go of releases that nobody wants any more.
    fn forget_unwanted(&self, plugins: &[PluginStanding]) {
        let wanted = |name: &ReleaseName| {
            let of = |release: &Option<PluginRelease>| {
                release.as_ref().is_some_and(|release| release.name == *name)
            };
            plugins.iter().any(|plugin| of(&plugin.live) || of(&plugin.candidate))
        };
        let mut memory = self.memory();
        memory.loaded.retain(|name, _| wanted(name));
        memory.reported.retain(|name, _| wanted(name));
        memory.tallies.retain(|name, _| wanted(name));
        memory.shadow_tallies.retain(|name, _| wanted(name));
    }

    /// Makes the live release of a plugin live here, or takes a disabled one out.
    async fn apply(&self, plugin: &PluginStanding) -> Result<(), StoreError> {
        let name = plugin.plugin.as_str();
        let held = plugin.candidate.as_ref().filter(|it| it.state == ReleaseState::Held);
        if held.is_none() && !plugin.disabled {
            self.show_no_longer(name);
        }
        if let Some(held) = held {
            let reason = held.reason.clone().unwrap_or_default();
            self.refuse(held, PluginState::Held, &format!("{} is held: {reason}", held.name));
        }
        let tried = plugin.candidate.as_ref().filter(|_| !plugin.disabled).map(|it| it.state);
        self.end_trials_but(name, tried);
        if plugin.disabled {
            self.registry.retire(name);
            if let Some(live) = &plugin.live {
                let reason = format!("disabled by {}: {}", plugin.changed_by, plugin.reason);
                self.refuse(live, PluginState::Disabled, &reason);
            }
            return Ok(());
        }
        let Some(live) = &plugin.live else { return Ok(()) };
        let loaded = self.memory().loaded.get(&live.name).cloned();
        let verdict = match loaded {
            Some(Ok(release)) => self.make_live(name, release),
            Some(Err(reason)) => HostVerdict::Rejected { reason },
            None => return Ok(()),
        };
        if let HostVerdict::Rejected { reason } = &verdict {
            self.refuse(live, PluginState::Rejected, reason);
        }
        self.report(&live.name, verdict).await
    }

    fn make_live(&self, plugin: &str, release: Arc<Release>) -> HostVerdict {
        let current = self.registry.current();
        let is_live = current.of_plugin(plugin).is_some_and(|live| Arc::ptr_eq(live, &release));
        if !is_live {
            // What is promoted is not tried any more, before it gets everything.
            self.end_trials_but(plugin, None);
            let digest = release.digest().to_owned();
            if let Err(clash) = self.registry.put(release) {
                return HostVerdict::Rejected { reason: clash.to_string() };
            }
            tracing::info!(job = Self::NAME, plugin.name = plugin, %digest, "live");
        }
        HostVerdict::Live
    }

    /// Says what this host made of a candidate, and begins or ends its trial here.
    async fn prepare(
        &self,
        plugin: &PluginStanding,
        candidate: &PluginRelease,
    ) -> Result<(), StoreError> {
        let loaded = self.memory().loaded.get(&candidate.name).cloned();
        let loaded = loaded.unwrap_or_else(|| Err("it was not loaded".to_owned()));
        let fits = loaded.and_then(|release| self.fits(release));
        match fits {
            Ok(release) => {
                self.try_out(plugin, candidate, release);
                self.keep_tallies(&candidate.name).await?;
                self.keep_shadow_tally(candidate).await?;
                self.report(&candidate.name, HostVerdict::Prepared).await
            }
            Err(reason) => {
                self.refuse(candidate, PluginState::Rejected, &reason);
                self.report(&candidate.name, HostVerdict::Rejected { reason }).await
            }
        }
    }

    /// Takes the step that a candidate goes by itself, if it is time. Answers whether it did.
    async fn step(
        &self,
        plugin: &PluginStanding,
        candidate: &PluginRelease,
    ) -> Result<bool, StoreError> {
        let hosts = self.store.standings(&candidate.name).await?;
        let tallies = match candidate.state {
            ReleaseState::Canary => self.store.tallies(&candidate.name).await?,
            _ => CanaryTallies::default(),
        };
        let facts = RolloutFacts {
            state: candidate.state,
            canary: candidate.canary,
            shadow: candidate.shadow,
            has_live: plugin.live.is_some(),
            state_age: candidate.state_age,
            hosts: &hosts,
            live_tally: &tallies.live,
            canary_tally: &tallies.canary,
        };
        let decision = decide_rollout(&facts, self.prepare_within);
        if decision == RolloutDecision::Wait {
            return Ok(false);
        }
        let done = self.store.advance(&candidate.name, &decision).await?;
        if done {
            tracing::info!(job = Self::NAME, release = %candidate.name, ?decision, "decided");
        }
        Ok(done)
    }

    /// Tells the fleet, unless it knows.
    async fn report(&self, name: &ReleaseName, verdict: HostVerdict) -> Result<(), StoreError> {
        if self.memory().reported.get(name) == Some(&verdict) {
            return Ok(());
        }
        self.store.report(&self.host, name, &verdict).await?;
        self.memory().reported.insert(name.clone(), verdict);
        Ok(())
    }

    /// Shows on this host why something is not live.
    fn refuse(&self, release: &PluginRelease, state: PluginState, reason: &str) {
        self.memory().shown.insert(release.name.plugin.clone(), state);
        let manifest = Manifest::parse(&release.manifest, "plugin.toml".as_ref()).ok();
        self.registry.refuse(Refusal {
            origin: origin(&release.name.plugin),
            plugin: release.name.plugin.clone(),
            digest: Some(release.digest.clone()),
            manifest,
            state,
            reason: reason.to_owned(),
        });
    }

    /// What was rejected stays to be seen until something else becomes live.
    fn show_no_longer(&self, plugin: &str) {
        let shown = self.memory().shown.get(plugin).copied();
        if matches!(shown, Some(PluginState::Held | PluginState::Disabled)) {
            self.memory().shown.remove(plugin);
            self.registry.forget(&origin(plugin));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All releases of a plugin come from one place.
fn origin(plugin: &str) -> String {
    format!("store:{plugin}")
}
