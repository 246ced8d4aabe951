//! The live releases, and what became of those that are not. Each change is one atomic step, which
//! holds for every event that is routed after it; attempts in hand go on with the release they
//! began with, up to a limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::canary::Canaries;
use super::release::{Release, ReleaseFacts};
use super::routes::Routes;
use super::shadow::Shadows;
use super::slots::Slots;
use super::status::{PluginState, PluginStatus, Refusal};
use crate::domain::{EventType, Timestamp};

/// How long a release that was replaced may go on with what it has in hand.
const DRAIN: Duration = Duration::from_secs(60);

/// The live releases by the name of their plugin, and their routes.
pub struct Registry {
    canaries: Canaries,
    shadows: Shadows,
    drain: Duration,
    routes: RwLock<Arc<Routes>>,
    /// Whoever changes the routes holds it, so that changes come one after another.
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

/// What is kept beside the routes.
#[derive(Default)]
struct Book {
    live_since: BTreeMap<String, Timestamp>,
    /// Of plugins that were live: one that comes back, or is replaced, has the places of before.
    slots: BTreeMap<String, Weak<Slots>>,
    retiring: Vec<Retiring>,
    /// By origin.
    refusals: BTreeMap<String, (Timestamp, Refusal)>,
}

/// A release that is not live any more. It is gone when nobody holds it.
struct Retiring {
    release: Weak<Release>,
    facts: Arc<ReleaseFacts>,
    since: Timestamp,
}

/// Two plugins claim what only one can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteClash {
    #[error(
        "both {first} and {second} handle {event_type}: remove it from `handles` of one, or tell \
         them apart by `select`"
    )]
    Route { event_type: EventType, first: String, second: String },
    #[error("{first} and {second} both hold a plugin of the name {name}: rename one")]
    Name { name: String, first: String, second: String },
}

impl Registry {
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        let registry = Self {
            canaries: Canaries::default(),
            shadows: Shadows::default(),
            drain: DRAIN,
            routes: RwLock::default(),
            book: Mutex::default(),
            changed: watch::Sender::new(0),
        };
        registry.set(&mut registry.book(), routes);
        registry
    }

    /// How long a release that was replaced or retired may go on with what it has in hand.
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// The releases that are tried on a share of the events.
    #[must_use]
    pub const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// The releases that get copies of attempts.
    #[must_use]
    pub const fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// The routes of this moment. Who holds them keeps their releases alive.
    #[must_use]
    pub fn current(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes with each change of the routes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Makes a release live in place of the one from the same origin, for all events that are
    /// routed from now on. A repeat changes nothing.
    ///
    /// # Errors
    /// Another plugin has its name or one of its routes; then nothing changes.
    pub fn put(&self, release: Arc<Release>) -> Result<(), RouteClash> {
        let mut book = self.book();
        let origin = release.origin().to_owned();
        let routes = self.with(release)?;
        book.refusals.remove(&origin);
        self.set(&mut book, routes);
        Ok(())
    }

    /// The routes of now, with this release in place of the one from the same origin.
    ///
    /// # Errors
    /// Another plugin has its name or one of its routes.
    pub(super) fn with(&self, release: Arc<Release>) -> Result<Routes, RouteClash> {
        let current = self.current();
        let others = current.releases().iter().filter(|other| other.origin() != release.origin());
        let mut releases: Vec<_> = others.map(Arc::clone).collect();
        releases.push(release);
        Routes::new(releases)
    }

    /// Takes a plugin's release out of the routes: its events wait from now on. False if there is
    /// none.
    pub fn retire(&self, name: &str) -> bool {
        let mut book = self.book();
        let current = self.current();
        if current.of_plugin(name).is_none() {
            return false;
        }
        let others = current.releases().iter().filter(|other| other.manifest().name != name);
        // A part of what fits together fits together.
        let Ok(routes) = Routes::new(others.map(Arc::clone).collect()) else { return false };
        self.set(&mut book, routes);
        true
    }

    /// Notes why a candidate is not live.
    pub fn refuse(&self, refusal: Refusal) {
        let mut book = self.book();
        let since = match book.refusals.get(&refusal.origin) {
            Some((since, before)) if *before == refusal => *since,
            _ => now(),
        };
        book.refusals.insert(refusal.origin.clone(), (since, refusal));
    }

    /// Forgets the refusal of an origin: its candidate is gone, or is what is live.
    pub fn forget(&self, origin: &str) {
        self.book().refusals.remove(origin);
    }

    /// What operators see, by name; of one name the live release first.
    #[must_use]
    pub fn statuses(&self) -> Vec<PluginStatus> {
        let mut book = self.book();
        book.retiring.retain(|retiring| retiring.release.strong_count() > 0);
        let current = self.current();
        let live = current.releases().iter().map(|release| {
            let since = book.live_since.get(&release.manifest().name).copied();
            let since = since.unwrap_or_else(now);
            status(&release.facts, PluginState::Live, since, release.calls_in_hand())
        });
        let retiring = book.retiring.iter().map(|retiring| {
            let calls = retiring.release.upgrade().map_or(0, |release| release.calls_in_hand());
            status(&retiring.facts, PluginState::Retiring, retiring.since, calls)
        });
        let refused = book.refusals.values().map(|(since, refusal)| PluginStatus {
            plugin: refusal.plugin.clone(),
            state: refusal.state,
            since: *since,
            origin: refusal.origin.clone(),
            digest: refusal.digest.clone(),
            manifest: refusal.manifest.clone(),
            reason: Some(refusal.reason.clone()),
            calls_in_hand: 0,
        });
        let mut statuses: Vec<_> = live.chain(retiring).chain(refused).collect();
        statuses.sort_by(|a, b| (&a.plugin, a.state, a.since).cmp(&(&b.plugin, b.state, b.since)));
        statuses
    }

    /// Makes another set of routes live, in one step. What is not among them retires.
    fn set(&self, book: &mut Book, routes: Routes) {
        let before = self.current();
        for release in routes.releases() {
            book.take_over(release, &before);
        }
        let stays = |old: &Arc<Release>| routes.releases().iter().any(|new| Arc::ptr_eq(old, new));
        let gone: Vec<_> = before.releases().iter().filter(|old| !stays(old)).cloned().collect();
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        for release in gone {
            release.end_after(self.drain);
            book.retiring.push(Retiring {
                facts: Arc::clone(&release.facts),
                release: Arc::downgrade(&release),
                since: now(),
            });
        }
        self.changed.send_modify(|version| *version += 1);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Gives a release the places of its plugin, before any event sees it.
    fn take_over(&mut self, release: &Arc<Release>, before: &Routes) {
        let manifest = release.manifest();
        let was_live = before.of_plugin(&manifest.name);
        if was_live.is_some_and(|old| Arc::ptr_eq(old, release)) {
            return;
        }
        // One that was live before and comes back is not retiring any more.
        self.retiring.retain(|retiring| {
            retiring.release.strong_count() > 0
                && !std::ptr::eq(retiring.release.as_ptr(), Arc::as_ptr(release))
        });
        release.go_on();
        let kept = self.slots.get(&manifest.name).and_then(Weak::upgrade);
        let slots = release.share_slots(kept);
        slots.resize(manifest.limits.concurrency);
        self.slots.insert(manifest.name.clone(), Arc::downgrade(&slots));
        self.slots.retain(|_, slots| slots.strong_count() > 0);
        self.live_since.insert(manifest.name.clone(), now());
    }
}

fn status(
    facts: &ReleaseFacts,
    state: PluginState,
    since: Timestamp,
    calls_in_hand: usize,
) -> PluginStatus {
    PluginStatus {
        plugin: facts.manifest.name.clone(),
        state,
        since,
        origin: facts.origin.clone(),
        digest: Some(facts.digest.clone()),
        manifest: Some(facts.manifest.clone()),
        reason: None,
        calls_in_hand,
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
