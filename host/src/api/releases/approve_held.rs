//! `POST /v1/plugins/{plugin}/approve`: lets what is held of a host's folder become live. The digest
//! says which manifest was looked at: another one may lie there by now.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Uri};
use serde::Serialize;

use crate::plugin::PluginState;
use crate::store::ReleaseNote;

use super::super::auth::Caller;
use super::super::problem::{Problem, ProblemKind};
use super::super::query::Query;
use super::super::routes::read_reason;
use super::super::state::Shared;
use super::{PluginPath, plugin_of};

#[derive(Debug, Serialize)]
pub(in crate::api) struct ApprovedView {
    plugin: String,
    manifest_digest: String,
    /// False if it was so already.
    changed: bool,
}

pub(in crate::api) async fn approve_held_plugin(
    State(shared): State<Shared>,
    caller: Caller,
    path: PluginPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ApprovedView>, Problem> {
    let plugin = plugin_of(path)?;
    let mut query = Query::new(&uri);
    let digest: Option<String> =
        query.parsed("manifest_digest", "needs the SHA-256 of the manifest");
    query.finish()?;
    let refused = |detail: &str| Problem::new(ProblemKind::ReleaseConflict, detail.to_owned());
    if shared.api.releases_rule.from_store {
        return Err(refused("This host takes its plugins from the store: name the release."));
    }
    let held = shared.api.registry.statuses().into_iter().find_map(|status| {
        let is_held = status.state == PluginState::Held && status.plugin == plugin;
        status.manifest.filter(|_| is_held).map(|manifest| manifest.digest)
    });
    let Some(held) = held else {
        return Err(refused("Nothing of this plugin is held on this host."));
    };
    if digest.is_some_and(|digest| digest != held) {
        return Err(refused("Another manifest is held by now: look at it first."));
    }
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ReleaseNote { reason: &reason, by: &caller.name };
    let changed = shared.api.approvals.approve_manifest(&plugin, &held, note).await?;
    tracing::warn!(plugin.name = %plugin, manifest = %held, reason, by = caller.name, "what a plugin asks for is approved");
    Ok(Json(ApprovedView { plugin, manifest_digest: held, changed }))
}
