//! The releases that are tried on a share of the events, beside the live ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::release::Release;
use super::routes::is_for;
use crate::domain::{CanaryTallies, OutboxEvent, ReleaseName, Share, is_untroubled};

/// A release that gets a share of its plugin's events, and what this host has counted since it
/// began: of it, and of the live release beside it.
pub struct Canary {
    pub name: ReleaseName,
    pub release: Arc<Release>,
    pub share: Share,
    tallies: Mutex<CanaryTallies>,
}

impl Canary {
    #[must_use]
    pub fn new(name: ReleaseName, release: Arc<Release>, share: Share) -> Self {
        Self { name, release, share, tallies: Mutex::default() }
    }

    /// Counts an attempt. `digest` is its release's: one of an earlier canary counts nothing.
    pub fn count(&self, on_canary: bool, digest: &str, succeeded: bool, took: Duration) {
        if on_canary && digest != self.release.digest() {
            return;
        }
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = if on_canary { &mut tallies.canary } else { &mut tallies.live };
        tally.count(succeeded, took);
    }

    /// What was counted until now.
    #[must_use]
    pub fn tallies(&self) -> CanaryTallies {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an event of the plugin goes to it: one of its share, that it handles, and that
    /// nothing went wrong with yet.
    fn takes(&self, event: &OutboxEvent) -> bool {
        is_untroubled(event)
            && self.share.has(&self.name.plugin, &event.aggregate)
            && is_for(self.release.manifest(), event)
    }
}

/// The canaries by plugin. Replaced as a whole; the live release's routes lead to them.
#[derive(Default)]
pub struct Canaries(RwLock<Arc<CanarySet>>);

/// The canaries of one moment.
#[derive(Default, Clone)]
pub struct CanarySet(BTreeMap<String, Arc<Canary>>);

impl Canaries {
    #[must_use]
    pub fn current(&self) -> Arc<CanarySet> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on events of the share go to it, in places of the plugin's live release.
    pub fn begin(&self, canary: Canary, live: &Release) {
        canary.release.share_slots(Some(Arc::clone(live.slots())));
        self.change(|set| {
            set.0.insert(canary.name.plugin.clone(), Arc::new(canary));
        });
    }

    /// From now on all events of the plugin go to its live release. A repeat changes nothing.
    pub fn end(&self, plugin: &str) {
        if self.current().0.contains_key(plugin) {
            self.change(|set| {
                set.0.remove(plugin);
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut CanarySet)) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = CanarySet::clone(&current);
        change(&mut next);
        *current = Arc::new(next);
    }
}

impl CanarySet {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn of_plugin(&self, plugin: &str) -> Option<&Arc<Canary>> {
        self.0.get(plugin)
    }

    /// The release that an event goes to whose route leads to this live one, and whether it is the
    /// canary beside it.
    #[must_use]
    pub fn choose(&self, live: &Arc<Release>, event: &OutboxEvent) -> (Arc<Release>, bool) {
        let canary = self.of(live, event);
        let release = canary.map_or(live, |canary| &canary.release);
        (Arc::clone(release), canary.is_some())
    }

    fn of(&self, live: &Release, event: &OutboxEvent) -> Option<&Arc<Canary>> {
        let canary = self.0.get(&live.manifest().name)?;
        let another = canary.release.digest() != live.digest()
            || canary.release.manifest() != live.manifest();
        (another && canary.takes(event)).then_some(canary)
    }
}
