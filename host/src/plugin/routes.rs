//! Which release handles which event, at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manifest::Manifest;
use super::registry::RouteClash;
use super::release::Release;
use crate::domain::{EventType, Network, NetworkPattern, OutboxEvent};

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

impl Routes {
    /// # Errors
    /// See [`RouteClash`].
    pub fn new(releases: Vec<Arc<Release>>) -> Result<Self, RouteClash> {
        let mut by_type: BTreeMap<EventType, Vec<Route>> = BTreeMap::new();
        for (i, release) in releases.iter().enumerate() {
            let manifest = release.manifest();
            let same = |other: &&Arc<Release>| other.manifest().name == manifest.name;
            if let Some(other) = releases[..i].iter().find(same) {
                return Err(RouteClash::Name {
                    name: manifest.name.clone(),
                    first: other.origin().to_owned(),
                    second: release.origin().to_owned(),
                });
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

    #[must_use]
    pub fn releases(&self) -> &[Arc<Release>] {
        &self.releases
    }

    /// The live release of a plugin.
    #[must_use]
    pub fn of_plugin(&self, name: &str) -> Option<&Arc<Release>> {
        self.releases.iter().find(|release| release.manifest().name == name)
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

/// Whether a manifest claims an event: its type and, if it says so, its network.
pub(super) fn is_for(manifest: &Manifest, event: &OutboxEvent) -> bool {
    manifest.handles.contains(&event.event_type)
        && manifest.network.as_ref().is_none_or(|pattern| {
            network_of(&event.payload).is_some_and(|network| pattern.matches(&network))
        })
}

fn network_of(payload: &str) -> Option<Network> {
    #[derive(serde::Deserialize)]
    struct Selected {
        network: String,
    }
    let selected: Selected = serde_json::from_str(payload).ok()?;
    selected.network.parse().ok()
}
