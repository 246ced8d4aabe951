//! The limits of one event type that hold over all hosts, as the manifests of its plugins have them.

use std::sync::Arc;

use crate::domain::{EventType, Rate, RateKey};
use crate::plugin::{Manifest, Routes};
use crate::store::{Bucket, FleetLimit, RouteLimits};

pub(super) struct TypeLimits {
    routes: Arc<Routes>,
    event_type: EventType,
    fleets: Vec<FleetLimit>,
}

impl TypeLimits {
    /// None for a type without such limits: its claims know nothing of them.
    pub(super) fn of(routes: &Arc<Routes>, event_type: &EventType) -> Option<Arc<Self>> {
        let limits = || routes.of_type(event_type).map(|release| &release.manifest().limits);
        if limits().all(|limits| limits.rate.is_none() && limits.fleet_concurrency.is_none()) {
            return None;
        }
        let fleets = routes.of_type(event_type).filter_map(|release| {
            let manifest = release.manifest();
            let max = manifest.limits.fleet_concurrency?;
            Some(FleetLimit { max, among: manifest.handles.clone() })
        });
        Some(Arc::new(Self {
            fleets: fleets.collect(),
            routes: Arc::clone(routes),
            event_type: event_type.clone(),
        }))
    }

    /// The rates of this type, in the order of the routes.
    pub(super) fn rates(routes: &Routes, event_type: &EventType) -> Vec<TypeRate> {
        let manifests = routes.of_type(event_type).map(|release| release.manifest());
        let rate = |manifest: &Manifest| {
            let (rate, key) = (manifest.limits.rate?, manifest.limits.rate_key.clone());
            Some(TypeRate { plugin: manifest.name.clone(), rate, key })
        };
        manifests.filter_map(rate).collect()
    }
}

/// What the events of a plugin wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeRate {
    plugin: String,
    rate: Rate,
    key: Option<RateKey>,
}

impl RouteLimits for TypeLimits {
    fn rate(&self, plugin: &str) -> Option<Rate> {
        let mut releases = self.routes.of_type(&self.event_type);
        releases.find(|release| release.manifest().name == plugin)?.manifest().limits.rate
    }

    fn bucket(&self, payload: &str) -> Option<Bucket> {
        let manifest = self.routes.route(&self.event_type, payload)?.manifest();
        manifest.limits.rate?;
        let key = manifest.limits.rate_key.as_ref();
        let key = key.map(|key| key.value(payload)).unwrap_or_default();
        Some(Bucket { plugin: manifest.name.clone(), key })
    }

    fn fleets(&self) -> &[FleetLimit] {
        &self.fleets
    }

    fn plugins(&self) -> Vec<String> {
        let limited = self.routes.of_type(&self.event_type).filter(|release| {
            let limits = &release.manifest().limits;
            limits.rate.is_some() || limits.fleet_concurrency.is_some()
        });
        limited.map(|release| release.manifest().name.clone()).collect()
    }
}
