//! `GET /v1/plugins`: the releases of this host and the candidates that did not become live.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::Uri;
use serde::Serialize;

use crate::plugin::{Manifest, PluginStatus};

use super::problem::Problem;
use super::query::Query;
use super::state::Shared;
use super::view::time;

#[derive(Debug, Serialize)]
pub(in crate::api) struct PluginListView {
    items: Vec<PluginView>,
}

#[derive(Debug, Serialize)]
struct PluginView {
    plugin: String,
    state: &'static str,
    since: String,
    /// Why it is not live.
    reason: Option<String>,
    origin: String,
    release_digest: Option<String>,
    /// None where it could not be read.
    manifest: Option<ManifestView>,
    calls_in_hand: usize,
}

#[derive(Debug, Serialize)]
struct ManifestView {
    digest: String,
    handles: Vec<String>,
    network: Option<String>,
    ordered: bool,
    /// By the manifest's keys, and as it writes them.
    limits: BTreeMap<&'static str, String>,
    /// In words, a sentence each.
    grants: Vec<String>,
}

pub(in crate::api) async fn list_plugins(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<PluginListView>, Problem> {
    Query::new(&uri).finish()?;
    let statuses = shared.api.registry.statuses();
    Ok(Json(PluginListView { items: statuses.into_iter().map(PluginView::from).collect() }))
}

impl From<PluginStatus> for PluginView {
    fn from(status: PluginStatus) -> Self {
        Self {
            plugin: status.plugin,
            state: status.state.as_str(),
            since: time(status.since),
            reason: status.reason,
            origin: status.origin,
            release_digest: status.digest,
            manifest: status.manifest.as_ref().map(ManifestView::from),
            calls_in_hand: status.calls_in_hand,
        }
    }
}

impl From<&Manifest> for ManifestView {
    fn from(manifest: &Manifest) -> Self {
        Self {
            digest: manifest.digest.clone(),
            handles: manifest.handles.iter().map(ToString::to_string).collect(),
            network: manifest.network.as_ref().map(|network| network.as_str().to_owned()),
            ordered: manifest.ordered,
            limits: manifest.limits.in_words().into_iter().collect(),
            grants: manifest.grants.in_words(),
        }
    }
}
