//! Shadows: releases that get copies of attempts after the live ones made them. A shadow is answered
//! from the recording of the attempt, nothing that it does leaves the host or is kept, and in what it
//! differs is counted.
//!
//! A live attempt of the share is recorded (`recorder`, `recorded_services`); the recording is all
//! that a shadow's call can reach (`replay`, `replayed_services`); both ends and what was asked are
//! compared (`compare`).

mod compare;
mod recorded_services;
mod recorder;
mod recording;
mod replay;
mod replayed_services;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use compare::outcome_differences;
pub use recorder::Recorder;
pub(super) use recorder::Tape;
pub(super) use recording::Asked;
pub(super) use replay::Replay;

use super::engine::SandboxEngine;
use super::functions::log::printable;
use super::release::Release;
use super::routes::is_for;
use super::state::Services;
use crate::domain::{
    OutboxEvent, Outcome, ReleaseName, ShadowDifference, ShadowPlan, ShadowTally, SkipReason,
};

/// Recordings of one shadow at the same time, those included whose copies wait for their turn: what
/// bounds the memory that they take, and how far copies fall behind.
const RECORDINGS_MAX: usize = 64;
/// Copies of one shadow that run at the same time. Few, so that live attempts find a place.
const RUNS_MAX: usize = 4;
/// What a copy has beside its handler's own time limits.
const SLACK: Duration = Duration::from_secs(5);
const DIFFERENCE_BYTES_MAX: usize = 300;

/// A release that gets copies of a share of its plugin's attempts, and what this host has counted
/// since it began.
pub struct Shadow {
    pub name: ReleaseName,
    /// Attempted with here alone, where nothing leaves the host.
    pub(super) release: Arc<Release>,
    plan: ShadowPlan,
    /// Enough copies were compared.
    full: AtomicBool,
    tally: Mutex<ShadowTally>,
    recordings: Arc<Semaphore>,
    runs: Semaphore,
}

/// An attempt was not copied, for the host has its fill of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    Same,
    Different,
    Skipped,
}

impl Shadow {
    #[must_use]
    pub fn new(name: ReleaseName, release: Arc<Release>, plan: ShadowPlan) -> Self {
        Self {
            name,
            release,
            plan,
            full: AtomicBool::new(false),
            tally: Mutex::default(),
            recordings: Arc::new(Semaphore::new(RECORDINGS_MAX)),
            runs: Semaphore::new(RUNS_MAX),
        }
    }

    /// Begins to copy an attempt at an event with the live release; None if it is none of the share.
    ///
    /// # Errors
    /// It is, and there is no room for one more.
    pub fn copy(
        self: &Arc<Self>,
        live: &Release,
        event: &OutboxEvent,
    ) -> Option<Result<ShadowCopy, Busy>> {
        if self.full.load(Ordering::Relaxed) || !self.takes(live, event) {
            return None;
        }
        let Ok(place) = Arc::clone(&self.recordings).try_acquire_owned() else {
            self.tally_mut().skip(SkipReason::Busy);
            return Some(Err(Busy));
        };
        let (shadow, recorder) = (Arc::clone(self), Recorder::new());
        Some(Ok(ShadowCopy { shadow, recorder, _place: place }))
    }

    fn takes(&self, live: &Release, event: &OutboxEvent) -> bool {
        let is_another =
            self.release.digest() != live.digest() || self.release.manifest() != live.manifest();
        is_another
            && self.plan.share.has(&self.name.plugin, &event.aggregate)
            && is_for(self.release.manifest(), event)
    }

    /// All hosts together have compared so many copies.
    pub fn heard_of(&self, copies: u64) {
        self.full.fetch_or(copies >= self.plan.events, Ordering::Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn tally(&self) -> ShadowTally {
        self.tally_mut().clone()
    }

    fn tally_mut(&self) -> MutexGuard<'_, ShadowTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt that is recorded for its shadow.
pub struct ShadowCopy {
    shadow: Arc<Shadow>,
    recorder: Arc<Recorder>,
    _place: OwnedSemaphorePermit,
}

impl ShadowCopy {
    /// Where the live attempt is recorded.
    #[must_use]
    pub const fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Lets the shadow do what the live release did, now that it has ended so, and compares them.
    /// Ends early when `stop` does.
    pub async fn compare(
        self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        services: &Services,
        live: &Outcome,
        stop: impl Future<Output = ()>,
    ) -> Copied {
        let found = tokio::select! {
            found = Box::pin(self.run(engine, event, services, live)) => found,
            () = stop => Err(SkipReason::Stopped),
        };
        match found {
            Ok(differences) => self.count(event, differences),
            Err(reason) => self.skip(reason),
        }
    }

    /// There is nothing to compare with.
    pub fn skip(self, reason: SkipReason) -> Copied {
        self.shadow.tally_mut().skip(reason);
        Copied::Skipped
    }

    fn count(self, event: &OutboxEvent, differences: Vec<ShadowDifference>) -> Copied {
        let copied = if differences.is_empty() { Copied::Same } else { Copied::Different };
        let mut tally = self.shadow.tally_mut();
        tally.count(event.id, differences);
        self.shadow.heard_of(tally.copies());
        copied
    }

    async fn run(
        &self,
        engine: &SandboxEngine,
        event: &OutboxEvent,
        services: &Services,
        live: &Outcome,
    ) -> Result<Vec<ShadowDifference>, SkipReason> {
        let recording = self.recorder.finish()?;
        if matches!(live, Outcome::Interrupted { .. }) {
            return Err(SkipReason::CutOff);
        }
        let shadow = &self.shadow;
        // The semaphore is never closed.
        let _turn = shadow.runs.acquire().await.map_err(|_| SkipReason::Stopped)?;
        let replay = Replay::new(recording);
        let secrets = Arc::clone(&services.secrets);
        // To ask what happened, and to act.
        let within =
            shadow.release.manifest().limits.timeout.saturating_mul(2).saturating_add(SLACK);
        let attempt = shadow.release.attempt_as_shadow(engine, event, &replay, secrets);
        let ended = tokio::time::timeout(within, attempt).await.map_err(|_| SkipReason::Busy)?;
        if matches!(ended, Outcome::Interrupted { .. }) {
            return Err(SkipReason::Busy);
        }
        let mut found = outcome_differences(live, &ended);
        found.extend(replay.differences().ok_or(SkipReason::CutOff)?);
        for difference in &mut found {
            let shown = shadow.release.facts.outbound.redact(&difference.text);
            difference.text = printable(&shown, DIFFERENCE_BYTES_MAX);
        }
        Ok(found)
    }
}

/// The shadows by plugin. Where there is none, asking costs next to nothing.
#[derive(Default)]
pub struct Shadows {
    any: AtomicBool,
    shadows: RwLock<BTreeMap<String, Arc<Shadow>>>,
}

impl Shadows {
    #[must_use]
    pub fn of_plugin(&self, plugin: &str) -> Option<Arc<Shadow>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.shadows.read().unwrap_or_else(PoisonError::into_inner).get(plugin).cloned()
    }

    /// From now on it gets copies, in place of an earlier one of its plugin.
    pub fn begin(&self, shadow: Shadow) {
        self.change(|shadows| {
            shadows.insert(shadow.name.plugin.clone(), Arc::new(shadow));
        });
    }

    /// From now on nothing is copied for the plugin. A repeat changes nothing.
    pub fn end(&self, plugin: &str) {
        if self.of_plugin(plugin).is_some() {
            self.change(|shadows| {
                shadows.remove(plugin);
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Shadow>>)) {
        let mut shadows = self.shadows.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut shadows);
        self.any.store(!shadows.is_empty(), Ordering::Release);
    }
}
