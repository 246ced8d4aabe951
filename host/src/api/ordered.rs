//! Which routes are ordered: what the API must know to say what holds an event.

use crate::domain::EventType;
use crate::plugin::Registry;

/// The routes of this moment, as far as order goes.
pub trait OrderedRoutes: Send + Sync {
    /// The types among which an event of this type and payload keeps its order; none if its route
    /// is not ordered, or if there is none.
    fn ordered_among(&self, event_type: &EventType, payload: &str) -> Vec<EventType>;
}

impl OrderedRoutes for Registry {
    fn ordered_among(&self, event_type: &EventType, payload: &str) -> Vec<EventType> {
        let routes = self.current();
        let manifest = routes.route(event_type, payload).map(|release| release.manifest());
        manifest.filter(|m| m.ordered).map(|m| m.handles.clone()).unwrap_or_default()
    }
}
