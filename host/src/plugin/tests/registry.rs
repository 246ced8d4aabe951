//! The live releases: how one takes the place of another, and what operators see of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::components::{ENGINE, attempt};
use super::fakes::services;
use super::wat;
use crate::domain::{EventType, Outcome};
use crate::plugin::{
    Admission, Candidate, PluginState, Refusal, Registry, Release, RouteClash, Routes,
};

/// A release of the folder `origin`, whose manifest names it and its type.
async fn release(origin: &str, name: &str, handles: &str, more: &str) -> Arc<Release> {
    let candidate = Candidate {
        manifest_text: format!("name = \"{name}\"\nhandles = [\"{handles}\"]\n{more}"),
        component: wat::plugin("", "i32.const 1024", ""),
        signature: None,
        origin: origin.into(),
    };
    Admission::new(ENGINE.clone(), None).admit(candidate).await.map_err(|e| e.to_string()).unwrap()
}

fn of(event_type: &str) -> EventType {
    event_type.parse().unwrap()
}

fn states(registry: &Registry) -> Vec<(String, PluginState)> {
    registry.statuses().into_iter().map(|status| (status.plugin, status.state)).collect()
}

#[tokio::test]
async fn a_replacement_is_seen_at_once_and_the_old_release_goes_on() {
    let registry = Registry::new(Routes::default());
    let old = release("a", "plugin", "A", "").await;
    registry.put(Arc::clone(&old)).unwrap();
    let mut changes = registry.changes();
    let held = registry.current();

    registry.put(release("a", "plugin", "B", "").await).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert!(held.route(&of("A"), "{}").is_some(), "one set never changes");
    let current = registry.current();
    assert!(current.route(&of("A"), "{}").is_none());
    assert!(current.route(&of("B"), "{}").is_some());
    drop(held);
    let outcome = attempt(&old, &services(), json!({})).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    let expected = [("plugin".into(), PluginState::Live), ("plugin".into(), PluginState::Retiring)];
    assert_eq!(states(&registry), expected);
    drop(old);
    assert_eq!(states(&registry), expected[..1], "nobody holds it any more");
}

#[tokio::test]
async fn a_manifest_may_rename_its_plugin_in_one_step() {
    let registry = Registry::new(Routes::default());
    registry.put(release("a", "before", "A", "").await).unwrap();
    registry.put(release("a", "after", "A", "").await).unwrap();
    assert_eq!(states(&registry), [("after".into(), PluginState::Live)]);
}

#[tokio::test]
async fn anothers_name_and_anothers_route_are_refused_and_nothing_changes() {
    let registry = Registry::new(Routes::default());
    registry.put(release("a", "one", "A", "").await).unwrap();
    registry.put(release("b", "two", "B", "").await).unwrap();
    let changes = registry.changes();
    let clash = registry.put(release("b", "one", "B", "").await).unwrap_err();
    let (name, first, second) = ("one".into(), "a".into(), "b".into());
    assert_eq!(clash, RouteClash::Name { name, first, second });
    let clash = registry.put(release("b", "two", "A", "").await).unwrap_err();
    assert!(matches!(clash, RouteClash::Route { .. }), "{clash:?}");
    assert!(!changes.has_changed().unwrap());
    assert!(registry.current().route(&of("B"), "{}").is_some());
}

#[tokio::test]
async fn a_retired_plugin_is_gone_and_may_come_back() {
    let registry = Registry::new(Routes::default());
    let plugin = release("a", "plugin", "A", "").await;
    registry.put(Arc::clone(&plugin)).unwrap();
    assert!(registry.retire("plugin"));
    assert!(!registry.retire("plugin"));
    assert!(registry.current().route(&of("A"), "{}").is_none());
    assert_eq!(states(&registry), [("plugin".into(), PluginState::Retiring)]);
    registry.put(Arc::clone(&plugin)).unwrap();
    assert_eq!(states(&registry), [("plugin".into(), PluginState::Live)]);
}

#[tokio::test]
async fn the_places_of_a_plugin_are_carried_over() {
    let registry = Registry::new(Routes::default());
    let old = release("a", "plugin", "A", "[limits]\nconcurrency = 2").await;
    registry.put(Arc::clone(&old)).unwrap();
    let held = old.slots().try_acquire().unwrap();
    let new = release("a", "plugin", "A", "[limits]\nconcurrency = 3").await;
    registry.put(Arc::clone(&new)).unwrap();
    assert_eq!(new.slots().available(), 2, "the old release's call counts");
    registry.retire("plugin");
    drop(new);
    let back = release("a", "plugin", "A", "[limits]\nconcurrency = 1").await;
    registry.put(Arc::clone(&back)).unwrap();
    assert_eq!(back.slots().available(), 0, "also when it was away");
    drop(held);
    assert_eq!(back.slots().available(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_replaced_release_has_in_hand_is_interrupted_after_the_drain_limit() {
    let drain = Duration::from_secs(7);
    let registry = Registry::new(Routes::default()).with_drain(drain);
    let plugin = release("a", "plugin", "A", "").await;
    registry.put(Arc::clone(&plugin)).unwrap();
    let began = tokio::time::Instant::now();
    let mut drained = std::pin::pin!(plugin.drained());
    assert!(tokio::time::timeout(2 * drain, &mut drained).await.is_err(), "it is live");
    registry.retire("plugin");
    drained.await;
    assert_eq!(began.elapsed(), 3 * drain);
}

#[tokio::test]
async fn a_refusal_is_seen_until_something_better_comes_from_there() {
    let registry = Registry::new(Routes::default());
    let refusal = Refusal {
        origin: "a".into(),
        plugin: "plugin".into(),
        digest: None,
        manifest: None,
        state: PluginState::Rejected,
        reason: "it is bad".into(),
    };
    registry.refuse(refusal.clone());
    let since = registry.statuses()[0].since;
    registry.refuse(refusal.clone());
    let seen = registry.statuses();
    assert_eq!((seen.len(), seen[0].since), (1, since));
    assert_eq!(seen[0].reason.as_deref(), Some("it is bad"));
    registry.put(release("a", "plugin", "A", "").await).unwrap();
    assert_eq!(states(&registry), [("plugin".into(), PluginState::Live)]);
    registry.refuse(refusal);
    registry.forget("a");
    assert_eq!(registry.statuses().len(), 1);
}
