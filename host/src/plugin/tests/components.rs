//! The components that the tests run: built from source, once a process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio::sync::OnceCell;
use toml::{Table, Value};

use crate::domain::{Aggregate, NewEvent, OutboxEvent, Outcome};
use crate::plugin::{Manifest, Outbound, Release, SandboxEngine, Services, build_components};

/// One for all tests: each engine reserves address space for a thousand instances.
pub(super) static ENGINE: LazyLock<SandboxEngine> =
    LazyLock::new(|| SandboxEngine::start().expect("an engine"));

pub(super) struct Components {
    pub(super) noop: Vec<u8>,
    pub(super) hostile: Vec<u8>,
    pub(super) contract_0_1_0: Vec<u8>,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace")
}

/// Shared with whatever else builds components, so that cargo has them ready.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("components")
}

pub(super) async fn components() -> &'static Components {
    static BUILT: OnceCell<Components> = OnceCell::const_new();
    let build = async || {
        let packages = ["noop", "hostile", "contract-0-1-0"];
        let files = build_components(workspace(), &target_dir(), &packages, |_: &str| ()).await;
        let files = files.unwrap_or_else(|error| panic!("{error}"));
        let read = |file: &PathBuf| std::fs::read(file).expect("a component");
        Components {
            noop: read(&files[0]),
            hostile: read(&files[1]),
            contract_0_1_0: read(&files[2]),
        }
    };
    BUILT.get_or_init(build).await
}

/// A manifest of what the test names, and of the grants without which `hostile` is not loaded.
pub(super) fn manifest(extra: &str) -> Manifest {
    let mut table: Table = extra.parse().expect("TOML");
    let mut default = |key: &str, value: Value| {
        table.entry(key).or_insert(value);
    };
    default("name", "hostile".into());
    default("handles", vec!["HOSTILE"].into());
    default("grants", Table::new().into());
    let grants = table["grants"].as_table_mut().expect("a table");
    for (key, value) in [("secrets", "KEY"), ("topics", "granted"), ("networks", "eip155:31337")] {
        grants.entry(key).or_insert(vec![value].into());
    }
    let text = toml::to_string(&table).expect("TOML");
    Manifest::parse(&text, Path::new("plugin.toml")).unwrap_or_else(|error| panic!("{error}"))
}

/// The misbehaving plugin, with a manifest of the test's.
pub(super) async fn hostile(extra: &str) -> Release {
    release(&components().await.hostile, extra)
}

/// The same, with a way out of the test's own.
pub(super) async fn hostile_behind(outbound: &Arc<Outbound>, extra: &str) -> Release {
    let engine = ENGINE.with_outbound(Arc::clone(outbound));
    release_on(&engine, &components().await.hostile, extra)
}

pub(super) fn release(wasm: &[u8], extra: &str) -> Release {
    release_on(&ENGINE, wasm, extra)
}

fn release_on(engine: &SandboxEngine, wasm: &[u8], extra: &str) -> Release {
    let cache = target_dir().join("compiled");
    Release::from_bytes(engine, manifest(extra), wasm, Some(&cache))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// An event that this host holds.
pub(super) fn event(payload: &serde_json::Value) -> OutboxEvent {
    let new = NewEvent::due_now(
        Aggregate::new("TEST", "7").unwrap(),
        "HOSTILE".parse().unwrap(),
        payload.to_string(),
    );
    OutboxEvent::just_claimed(new, std::time::SystemTime::now().into())
}

/// One attempt at a new event with this payload.
pub(super) async fn attempt(
    release: &Release,
    services: &Services,
    payload: serde_json::Value,
) -> Outcome {
    release.attempt(&ENGINE, &event(&payload), services).await
}

/// The detail of a receipt, as JSON.
#[track_caller]
pub(super) fn detail(outcome: Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Done(receipt) => {
            serde_json::from_str(receipt.detail.as_deref().unwrap_or("null")).unwrap()
        }
        other => panic!("not done: {other:?}"),
    }
}

#[track_caller]
fn assert_says(outcome: &Outcome, reason: &str, said: &str) {
    assert!(reason.contains(said), "{said:?} is not in {outcome:?}");
}

/// It did not happen, and the reason says so.
#[track_caller]
pub(super) fn assert_retry(outcome: &Outcome, said: &str) {
    match outcome {
        Outcome::Retry { reason, .. } => assert_says(outcome, reason, said),
        other => panic!("no retry: {other:?}"),
    }
}

/// It may have happened, and the reason says so.
#[track_caller]
pub(super) fn assert_unknown(outcome: &Outcome, said: &str) {
    match outcome {
        Outcome::Unknown { reason } => assert_says(outcome, reason, said),
        other => panic!("not unknown: {other:?}"),
    }
}

#[track_caller]
pub(super) fn assert_reject(outcome: &Outcome, said: &str) {
    match outcome {
        Outcome::Reject { reason } => assert_says(outcome, reason, said),
        other => panic!("no reject: {other:?}"),
    }
}
