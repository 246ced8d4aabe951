//! Who gets how much: routes with limits, and routes that share a host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tests::{HandStore, an_event, job};
use super::{DispatchConfig, DispatcherJob};
use crate::domain::EventType;
use crate::plugin::tests::wat;
use crate::plugin::{Manifest, Release, Routes, SandboxEngine};
use crate::store::LimitedClaim;

const DEADLINE: Duration = Duration::from_secs(60);

/// Plugins that do nothing: names, types, and what their manifests say of limits.
fn routes(engine: &SandboxEngine, plugins: &[(&str, &str, &str)]) -> Routes {
    let releases = plugins.iter().map(|(name, event_type, limits)| {
        let text = format!("name = \"{name}\"\nhandles = [\"{event_type}\"]\n[limits]\n{limits}\n");
        let manifest = Manifest::parse(&text, Path::new("plugin.toml")).unwrap();
        let wasm = wat::plugin("", "i32.const 1024", "");
        Arc::new(Release::from_bytes(engine, manifest, &wasm, None).unwrap())
    });
    Routes::new(releases.collect()).unwrap()
}

/// Runs a dispatcher until what was claimed fulfils a condition.
async fn run_until(
    job: DispatcherJob,
    store: &HandStore,
    enough: impl Fn(&dyn Fn(&str) -> u32) -> bool,
) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(job.run(stop.clone()));
    let claimed = |name: &str| {
        let event_type: EventType = name.parse().unwrap();
        store.claimed.lock().unwrap().get(&event_type).copied().unwrap_or(0)
    };
    let seen = async {
        while !enough(&claimed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, seen).await.unwrap();
    stop.cancel();
    tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowded_host_is_shared_by_priority_and_no_route_starves() {
    let mut store = HandStore::new();
    store.endless = true;
    let store = Arc::new(store);
    let engine = SandboxEngine::start().unwrap();
    let plugins = [("high", "HIGH", "priority = 40"), ("low", "LOW", "priority = 10")];
    let routes = routes(&engine, &plugins);
    let config = DispatchConfig { attempts_max: 4, ..DispatchConfig::default() };
    let job = job(&store, engine, routes, config);
    run_until(job, &store, |claimed| claimed("HIGH") + claimed("LOW") > 4_000).await;
    let claimed = store.claimed.lock().unwrap().clone();
    let [high, low] = ["HIGH", "LOW"].map(|name| claimed[&name.parse::<EventType>().unwrap()]);
    // Four to one, as far as both always stand at the gate.
    assert!(high > 2 * low, "the high one gets its share: {high} and {low}");
    assert!(low > 100, "the low one moves: {high} and {low}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_lane_comes_back_when_its_key_has_room_and_not_with_the_poll() {
    let store = Arc::new(HandStore::new());
    let event_type: EventType = "A".parse().unwrap();
    let answer = |events: usize, wait| LimitedClaim {
        events: (0..events).map(|_| an_event(&event_type)).collect(),
        put_aside: 1,
        more: false,
        next_in: Some(Duration::from_millis(wait)),
    };
    store.limited.lock().unwrap().extend([
        answer(2, 20),
        answer(0, 5),
        answer(1, 20),
        answer(3, 0),
    ]);
    let limits = "rate = \"50/s\"\nrate_key = \"partner_id\"";
    // Longer than the test may take.
    let config = DispatchConfig { poll: 10 * DEADLINE, ..DispatchConfig::default() };
    let engine = SandboxEngine::start().unwrap();
    let routes = routes(&engine, &[("p", "A", limits)]);
    let job = job(&store, engine, routes, config);
    let metrics = Arc::clone(&job.metrics);
    run_until(job, &store, |claimed| claimed("A") == 6).await;
    let none = crate::store::Backlog {
        read_at: std::time::Instant::now(),
        types: Vec::new(),
        waits: Vec::new(),
    };
    let text = metrics.text(&none, Duration::ZERO);
    assert!(text.contains("tidegate_rate_limited_total{event_type=\"A\"} 4\n"), "{text}");
}
