//! `GET /v1/routes`: every event type that a plugin handles, that has a backlog, or that was paused.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::Uri;
use serde::Serialize;

use crate::domain::{BreakerState, EventType};
use crate::plugin::{Release, Routes};
use crate::store::{Breaker, Count, RouteControl, TypeBacklog, backlog_of};

use super::super::breakers::state_of;
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::state::Shared;
use super::super::view::time;

#[derive(Debug, Serialize)]
pub(in crate::api) struct RouteListView {
    items: Vec<RouteView>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    event_type: String,
    paused: bool,
    /// What was said last, if it was ever paused.
    control: Option<ControlView>,
    /// Of this host; several if they select by network.
    handlers: Vec<HandlerView>,
    pending: CountView,
    processing: CountView,
    retrying: CountView,
    failed: CountView,
    rate_limited: CountView,
    unrouted: CountView,
    held: CountView,
    oldest_age_ms: Option<u64>,
    untaken: bool,
    /// No plugin of this host handles the type: its events wait.
    no_route: bool,
}

#[derive(Debug, Serialize)]
struct ControlView {
    reason: String,
    changed_by: String,
    changed_at: String,
}

#[derive(Debug, Serialize)]
struct HandlerView {
    plugin: String,
    release_digest: String,
    network: Option<String>,
    ordered: bool,
    /// As in the manifest, such as `50/s`.
    rate: Option<String>,
    rate_key: Option<String>,
    fleet_concurrency: Option<u32>,
    priority: u32,
    /// Those of the plugin's breakers that are not closed.
    breakers: Vec<OpenBreakerView>,
}

#[derive(Debug, Serialize)]
struct OpenBreakerView {
    target: String,
    /// `open`, `probing` or `held`.
    state: &'static str,
    open_for_ms: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
struct CountView {
    number: u64,
    at_least: bool,
}

pub(in crate::api) async fn list_routes(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<RouteListView>, Problem> {
    Query::new(&uri).finish()?;
    let controls = shared.api.control.route_controls().await?;
    let routes = shared.api.registry.current();
    let breakers = shared.api.breakers.breakers().await?;
    let backlog = backlog_of(&*shared.api.backlog, routes.ordered()).await?;
    let patience = shared.api.limits.untaken_after;

    let mut items: BTreeMap<EventType, RouteView> = BTreeMap::new();
    for event_type in routes.event_types() {
        let view = RouteView::new(event_type, &routes);
        items.insert(event_type.clone(), view);
    }
    for found in backlog {
        let view = items
            .entry(found.event_type.clone())
            .or_insert_with(|| RouteView::new(&found.event_type, &routes));
        view.fill(&found);
        view.untaken = found.is_untaken(patience);
    }
    for control in controls {
        let view = items
            .entry(control.event_type.clone())
            .or_insert_with(|| RouteView::new(&control.event_type, &routes));
        view.control_by(control);
    }
    for handler in items.values_mut().flat_map(|view| &mut view.handlers) {
        handler.breakers = open_breakers(&breakers, &handler.plugin);
    }
    Ok(Json(RouteListView { items: items.into_values().collect() }))
}

impl RouteView {
    fn new(event_type: &EventType, routes: &Routes) -> Self {
        Self {
            event_type: event_type.to_string(),
            paused: false,
            control: None,
            handlers: routes.of_type(event_type).map(|release| handler(release)).collect(),
            pending: CountView::default(),
            processing: CountView::default(),
            retrying: CountView::default(),
            failed: CountView::default(),
            rate_limited: CountView::default(),
            unrouted: CountView::default(),
            held: CountView::default(),
            oldest_age_ms: None,
            untaken: false,
            no_route: routes.of_type(event_type).next().is_none(),
        }
    }

    fn fill(&mut self, backlog: &TypeBacklog) {
        self.pending = backlog.pending.into();
        self.processing = backlog.processing.into();
        self.retrying = backlog.retrying.into();
        self.failed = backlog.failed.into();
        self.rate_limited = backlog.rate_limited.into();
        self.unrouted = backlog.unrouted.into();
        self.held = backlog.held.into();
        let millis = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.oldest_age_ms = backlog.oldest_age.map(millis);
    }

    fn control_by(&mut self, control: RouteControl) {
        self.paused = control.paused;
        // That nobody takes it is what was asked for.
        self.untaken &= !control.paused;
        self.control = Some(ControlView {
            reason: control.reason,
            changed_by: control.changed_by,
            changed_at: time(control.changed_at),
        });
    }
}

fn handler(release: &Release) -> HandlerView {
    let manifest = release.manifest();
    HandlerView {
        plugin: manifest.name.clone(),
        release_digest: release.digest().to_owned(),
        network: manifest.network.as_ref().map(|network| network.as_str().to_owned()),
        ordered: manifest.ordered,
        rate: manifest.limits.rate.map(|rate| rate.to_string()),
        rate_key: manifest.limits.rate_key.as_ref().map(ToString::to_string),
        fleet_concurrency: manifest.limits.fleet_concurrency,
        priority: manifest.limits.priority,
        breakers: Vec::new(),
    }
}

fn open_breakers(breakers: &[Breaker], plugin: &str) -> Vec<OpenBreakerView> {
    let of_plugin = breakers.iter().filter(|breaker| breaker.key.plugin == plugin);
    let open = of_plugin.filter(|breaker| !matches!(breaker.state, BreakerState::Closed { .. }));
    let view = |breaker: &Breaker| {
        let (state, open_for_ms) = state_of(breaker.state);
        OpenBreakerView { target: breaker.key.target.clone(), state, open_for_ms }
    };
    open.map(view).collect()
}

impl From<Count> for CountView {
    fn from(count: Count) -> Self {
        Self { number: count.number, at_least: count.at_least }
    }
}
