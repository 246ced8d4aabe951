//! A real OCI registry: the `distribution` server, as Debian packages it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::eventually::eventually;
use crate::machine::free_port;
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// A running registry on loopback, without TLS and without accounts.
#[derive(Debug)]
pub struct OciRegistry {
    /// `127.0.0.1:PORT`.
    pub address: String,
    _process: Process,
}

impl OciRegistry {
    /// None, with a line that says so, where there is no server.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(folder: &Path) -> Option<Self> {
        if Command::new("docker-registry").arg("--version").output().is_err() {
            skip("docker-registry is not installed", "apt-get install docker-registry");
            return None;
        }
        // reqwest asks for it, though nothing here speaks TLS; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = format!("127.0.0.1:{}", free_port());
        let config = folder.join("registry.yml");
        let store = folder.join("registry");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            store.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::start(folder, "registry", Signal::Kill, |command| {
            command.args(["docker-registry", "serve"]).arg(&config);
        });
        let url = format!("http://{address}/v2/");
        eventually("the registry answers", STARTED_WITHIN, async || {
            reqwest::get(&url).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Some(Self { address, _process: process })
    }

    /// The manifest of a tag, as the registry holds it.
    ///
    /// # Panics
    /// There is none.
    pub async fn manifest(&self, name: &str, tag: &str) -> Value {
        let url = format!("http://{}/v2/{name}/manifests/{tag}", self.address);
        let asked = reqwest::Client::new()
            .get(url)
            .header("Accept", "application/vnd.oci.image.manifest.v1+json");
        asked.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// A blob's bytes, read as JSON.
    ///
    /// # Panics
    /// There is none, or it is no JSON.
    pub async fn json_blob(&self, name: &str, digest: &str) -> Value {
        let url = format!("http://{}/v2/{name}/blobs/{digest}", self.address);
        reqwest::get(url).await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }
}
