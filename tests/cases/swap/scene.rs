//! A host whose one plugin comes in two variants, which tell themselves apart by what they answer.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_tests::api::{Api, send};
use tidegate_tests::components::component;
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::manifest::Manifest;

pub(super) const PLUGIN: &str = "hostile";
/// What a swap may take on a machine that has much to do.
pub(super) const LIVE_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct Scene {
    pub(super) installation: Installation,
    pub(super) host: Host,
    pub(super) api: Api,
}

impl Scene {
    /// The plugin's first variant is live.
    pub(super) async fn start() -> Self {
        Self::of(Installation::new().with_sqlite()).await
    }

    pub(super) async fn of(installation: Installation) -> Self {
        installation.add(&manifest(0)).await;
        let (host, api) = installation.serve().await;
        Self { installation, host, api }
    }

    /// The same, with the plugin's files as a mounted ConfigMap has them: links into a folder that
    /// is itself a link, and is switched.
    pub(super) async fn start_mounted(variants: u8) -> Self {
        let installation = Installation::new().with_sqlite();
        let folder = installation.path().join("plugins").join(PLUGIN);
        for variant in 0..variants {
            let version = folder.join(format!("..{variant}"));
            std::fs::create_dir_all(&version).unwrap();
            std::fs::write(version.join("component.wasm"), wasm(variant).await).unwrap();
            std::fs::write(version.join("plugin.toml"), manifest(variant).text()).unwrap();
        }
        symlink("..0", folder.join("..data")).unwrap();
        for name in ["plugin.toml", "component.wasm"] {
            symlink(PathBuf::from("..data").join(name), folder.join(name)).unwrap();
        }
        let (host, api) = installation.serve().await;
        Self { installation, host, api }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.installation.path().join("plugins").join(PLUGIN).join(name)
    }

    pub(super) fn switch_to(&self, variant: u8) {
        let link = self.file("..data_tmp");
        symlink(format!("..{variant}"), &link).unwrap();
        std::fs::rename(link, self.file("..data")).unwrap();
    }

    pub(super) async fn plugins(&self) -> Vec<Value> {
        self.api.get("/v1/plugins").await["items"].as_array().unwrap().clone()
    }

    /// Waits until a line of the list of plugins is like this, and gives it.
    pub(super) async fn shows(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, LIVE_WITHIN, async || {
            let plugins = self.plugins().await;
            let found = plugins.iter().find(|plugin| is(plugin)).cloned();
            found.ok_or_else(|| Value::from(plugins).to_string())
        })
        .await
    }

    /// The digests of what is live: of the component, and of the manifest.
    pub(super) async fn live(&self) -> Option<(String, String)> {
        let plugins = self.plugins().await;
        let live = plugins.iter().find(|it| it["state"] == "live" && it["plugin"] == PLUGIN)?;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Some((text(&live["release_digest"]), text(&live["manifest"]["digest"])))
    }

    /// Hands in events that do this; gives their ids.
    pub(super) async fn submit(&self, key: &str, deeds: &[Value]) -> Vec<String> {
        submit(&self.api, key, deeds).await
    }
}

pub(super) async fn submit(api: &Api, key: &str, deeds: &[Value]) -> Vec<String> {
    let events: Vec<_> = deeds
        .iter()
        .map(|deed| {
            json!({
                "aggregate_type": "TEST", "aggregate_id": "1", "event_type": "HOSTILE",
                "payload": deed,
            })
        })
        .collect();
    let request = api.request(Method::POST, "/v1/events");
    let request = request.header("Idempotency-Key", format!("\"{key}\""));
    let reply = send(request.json(&json!({ "events": events }))).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text);
    let ids = reply.json()["events"].as_array().unwrap().clone();
    ids.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Answers its settings, and with them which variant it is.
pub(super) fn manifest(variant: u8) -> Manifest {
    Manifest::shipped(PLUGIN)
        .with("settings", "mark", i64::from(variant))
        .with("limits", "timeout", "10s")
}

/// The component with a custom section at its end, which changes nothing but its digest.
pub(super) async fn wasm(variant: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(component(PLUGIN).await).unwrap();
    bytes.extend([0, 6, 4, b'm', b'a', b'r', b'k', variant]);
    bytes
}
