//! Which release handles which event. Replaced as a whole, in one atomic step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::engine::SandboxEngine;
use super::release::{Release, ReleaseError};
use crate::domain::{EventType, Network, NetworkPattern};

/// The live releases and their routes.
pub struct Registry {
    routes: RwLock<Arc<Routes>>,
    changed: watch::Sender<u64>,
}

/// One consistent set of routes. Never changes: a swap makes another one.
#[derive(Default)]
pub struct Routes {
    releases: Vec<Arc<Release>>,
    by_type: BTreeMap<EventType, Vec<Route>>,
}

struct Route {
    network: Option<NetworkPattern>,
    release: Arc<Release>,
}

/// Two plugins claim what only one can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteClash {
    #[error(
        "both {first} and {second} handle {event_type}: remove it from `handles` of one, or tell \
         them apart by `select`"
    )]
    Route { event_type: EventType, first: String, second: String },
    #[error("two folders hold a plugin of the name {0}: rename one")]
    Name(String),
}

/// Why a folder of plugins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{folder}: cannot be read: {cause}")]
    Unreadable { folder: String, cause: String },
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Clash(#[from] RouteClash),
}

impl Routes {
    /// # Errors
    /// See [`RouteClash`].
    pub fn new(releases: Vec<Arc<Release>>) -> Result<Self, RouteClash> {
        let mut by_type: BTreeMap<EventType, Vec<Route>> = BTreeMap::new();
        for (i, release) in releases.iter().enumerate() {
            let manifest = release.manifest();
            if releases[..i].iter().any(|other| other.manifest().name == manifest.name) {
                return Err(RouteClash::Name(manifest.name.clone()));
            }
            for event_type in &manifest.handles {
                let routes = by_type.entry(event_type.clone()).or_default();
                let clash = routes.iter().find(|route| overlap(&route.network, &manifest.network));
                if let Some(other) = clash {
                    return Err(RouteClash::Route {
                        event_type: event_type.clone(),
                        first: other.release.manifest().name.clone(),
                        second: manifest.name.clone(),
                    });
                }
                routes.push(Route {
                    network: manifest.network.clone(),
                    release: Arc::clone(release),
                });
            }
        }
        Ok(Self { releases, by_type })
    }

    /// Loads every folder below `folder` that holds a `plugin.toml`. Blocks for as long as a
    /// compiler needs.
    ///
    /// # Errors
    /// See [`FolderError`]; the first that is found.
    pub fn from_folder(
        engine: &SandboxEngine,
        folder: &Path,
        cache: Option<&Path>,
    ) -> Result<Self, FolderError> {
        let unreadable = |error: std::io::Error| FolderError::Unreadable {
            folder: folder.display().to_string(),
            cause: error.to_string(),
        };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.join("plugin.toml").is_file() {
                folders.push(path);
            }
        }
        folders.sort();
        let mut releases = Vec::with_capacity(folders.len());
        for folder in folders {
            releases.push(Arc::new(Release::load(engine, &folder, cache)?));
        }
        Ok(Self::new(releases)?)
    }

    #[must_use]
    pub fn releases(&self) -> &[Arc<Release>] {
        &self.releases
    }

    /// The event types that some release handles.
    pub fn event_types(&self) -> impl Iterator<Item = &EventType> {
        self.by_type.keys()
    }

    /// The releases that handle a type, whatever the payload.
    pub fn of_type(&self, event_type: &EventType) -> impl Iterator<Item = &Arc<Release>> {
        self.by_type.get(event_type).into_iter().flatten().map(|route| &route.release)
    }

    /// The types of each ordered plugin, among which it keeps the order.
    pub fn ordered(&self) -> impl Iterator<Item = &[EventType]> {
        let manifests = self.releases.iter().map(|release| release.manifest());
        manifests.filter(|manifest| manifest.ordered).map(|manifest| manifest.handles.as_slice())
    }

    /// The one release that handles this event, if there is one.
    #[must_use]
    pub fn route(&self, event_type: &EventType, payload: &str) -> Option<&Arc<Release>> {
        let routes = self.by_type.get(event_type)?;
        if let [Route { network: None, release }] = routes.as_slice() {
            return Some(release);
        }
        let network = network_of(payload);
        let matches = |route: &&Route| match (&route.network, &network) {
            (None, _) => true,
            (Some(pattern), Some(network)) => pattern.matches(network),
            (Some(_), None) => false,
        };
        routes.iter().find(matches).map(|route| &route.release)
    }

    /// The release that judges withdrawals on a network: the one that their broadcast goes to.
    #[must_use]
    pub fn judge(&self, broadcast: &EventType, network: &Network) -> Option<&Arc<Release>> {
        self.by_type.get(broadcast)?.iter().find_map(|route| {
            let serves = route.network.as_ref().is_none_or(|pattern| pattern.matches(network));
            serves.then_some(&route.release)
        })
    }
}

fn overlap(a: &Option<NetworkPattern>, b: &Option<NetworkPattern>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.overlaps(b),
        (None, _) | (_, None) => true,
    }
}

fn network_of(payload: &str) -> Option<Network> {
    #[derive(serde::Deserialize)]
    struct Selected {
        network: String,
    }
    let selected: Selected = serde_json::from_str(payload).ok()?;
    selected.network.parse().ok()
}

impl Registry {
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self { routes: RwLock::new(Arc::new(routes)), changed: watch::Sender::new(0) }
    }

    /// The routes of this moment. Who holds them keeps their releases alive.
    #[must_use]
    pub fn current(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes another set of routes live, for all events that are routed from now on.
    pub fn replace(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Changes with each [`Registry::replace`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
