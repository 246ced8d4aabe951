//! Folders to deploy, and events that show which release handled them.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_tests::api::{Api, send};
use tidegate_tests::command_line::{Ended, ask};
use tidegate_tests::components::component;
use tidegate_tests::installation::Installation;
use tidegate_tests::manifest::Manifest;

/// An installation whose hosts take their plugins from the store.
pub(super) fn installation() -> Installation {
    Installation::new().with("[plugins]\nfrom = \"store\"\n")
}

/// `marker`, as it is to lie in a folder.
pub(super) fn marker(mark: &str, fail_percent: i64) -> Manifest {
    Manifest::shipped("marker").with("settings", "mark", mark).with(
        "settings",
        "fail_percent",
        fail_percent,
    )
}

/// A folder that holds this release, whose component is one of its own: the mark is in it, too.
pub(super) async fn folder(below: &Path, name: &str, manifest: &Manifest) -> PathBuf {
    let folder = below.join("releases").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut wasm = std::fs::read(component(&manifest.package).await).unwrap();
    wasm.extend(custom_section(name));
    std::fs::write(folder.join("component.wasm"), wasm).unwrap();
    std::fs::write(folder.join("plugin.toml"), manifest.text()).unwrap();
    folder
}

/// A section that no runtime looks at. Its parts are short, so each length is one byte.
fn custom_section(text: &str) -> Vec<u8> {
    let short = |length: usize| u8::try_from(length).ok().filter(|byte| *byte < 128).unwrap();
    let name = b"release";
    let mut section = vec![0, short(1 + name.len() + text.len()), short(name.len())];
    section.extend_from_slice(name);
    section.extend_from_slice(text.as_bytes());
    section
}

/// A command that asks the host, off the threads of the test.
pub(super) async fn command(api: &Api, arguments: &[&str]) -> Ended {
    let (api, arguments) =
        (api.clone(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
    let asked = move || ask(&api, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(asked).await.unwrap()
}

pub(super) async fn deploy(api: &Api, folder: &Path, options: &[&str]) -> Ended {
    let folder = folder.display().to_string();
    command(api, &[&["plugin", "deploy", &folder], options].concat()).await
}

/// Deploys what must become live now.
pub(super) async fn deployed(api: &Api, folder: &Path) {
    let ended = deploy(api, folder, &["--approve", "for this test"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Hands in events of these numbers, each about an aggregate of its own; gives their ids.
pub(super) async fn mark(api: &Api, numbers: std::ops::Range<u64>) -> Result<Vec<String>, String> {
    let events: Vec<Value> = numbers
        .clone()
        .map(|n| {
            json!({
                "aggregate_type": "ORDER", "aggregate_id": format!("order-{n}"),
                "event_type": "MARK", "payload": { "n": n },
            })
        })
        .collect();
    let key = format!("\"{}-{}\"", numbers.start, numbers.end);
    let request = api.request(Method::POST, "/v1/events").header("Idempotency-Key", key);
    let reply = send(request.json(&json!({ "events": events }))).await?;
    if reply.status != 201 {
        return Err(reply.text);
    }
    let events = reply.json()["events"].as_array().cloned().unwrap_or_default();
    Ok(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect())
}

/// The state of a release.
pub(super) async fn state(api: &Api, number: u32) -> String {
    let detail = api.get(&format!("/v1/plugins/marker/releases/{number}")).await;
    detail["release"]["state"].as_str().unwrap().to_owned()
}

/// The mark that an event's handler left.
pub(super) fn mark_of(event: &Value) -> &str {
    event["detail"]["mark"].as_str().unwrap_or("none")
}
