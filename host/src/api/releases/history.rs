//! `GET /v1/plugins/{name}/releases`, `…/releases/{number}` and `…/difference`.

use axum::Json;
use axum::extract::State;
use http::Uri;

use crate::domain::{ReleaseName, ReleaseState};
use crate::store::{PluginRelease, PluginStanding};

use super::super::problem::Problem;
use super::super::query::Query;
use super::super::state::Shared;
use super::plan::PlanView;
use super::view::{HistoryView, ReleaseDetailView};
use super::{PluginPath, ReleasePath, find, plugin_of, release_of};

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 500;

pub(in crate::api) async fn get_release_history(
    State(shared): State<Shared>,
    path: PluginPath,
    uri: Uri,
) -> Result<Json<HistoryView>, Problem> {
    let plugin = plugin_of(path)?;
    let mut query = Query::new(&uri);
    let rule = "needs a whole number from 1 to 500";
    let limit = query.parsed("limit", rule).unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        query.error("limit", "invalid", rule);
    }
    query.finish()?;
    let standing = standing_of(&shared, &plugin).await?;
    let (releases, decisions) = shared.api.releases.release_history(&plugin, limit).await?;
    let shadows = shared.api.releases.shadow_tallies(&plugin).await?;
    Ok(Json(HistoryView::new(standing, releases, decisions, shadows)))
}

pub(in crate::api) async fn get_release(
    State(shared): State<Shared>,
    path: ReleasePath,
) -> Result<Json<ReleaseDetailView>, Problem> {
    let name = release_of(path)?;
    let release = find(&shared, &name).await?;
    let hosts = shared.api.releases.standings(&name).await?;
    let tallies = match release.canary {
        Some(_) => Some(shared.api.releases.tallies(&name).await?),
        None => None,
    };
    let shadow = match release.shadow {
        Some(_) => {
            let mut tallies = shared.api.releases.shadow_tallies(&name.plugin).await?;
            Some(tallies.remove(&name.number).unwrap_or_default())
        }
        None => None,
    };
    Ok(Json(ReleaseDetailView::new(release, hosts, tallies, shadow)))
}

pub(in crate::api) async fn get_difference(
    State(shared): State<Shared>,
    path: PluginPath,
    uri: Uri,
) -> Result<Json<PlanView>, Problem> {
    let plugin = plugin_of(path)?;
    let mut query = Query::new(&uri);
    let rule = "needs the number of a release";
    let (from, to): (Option<u32>, Option<u32>) =
        (query.parsed("from", rule), query.parsed("to", rule));
    query.finish()?;
    let standing = standing_of(&shared, &plugin).await?;
    let (newest, _) = shared.api.releases.release_history(&plugin, 1).await?;
    let from = chosen(&shared, &plugin, from, standing.live).await?;
    let to = chosen(&shared, &plugin, to, newest.into_iter().next()).await?;
    let to = to.ok_or_else(|| Problem::not_found("release"))?;
    let steps = match to.state {
        ReleaseState::Held => vec![format!("{} waits for an approval", to.name)],
        other => vec![format!("{} is {other}", to.name)],
    };
    Ok(Json(PlanView::between(from.as_ref(), &to, steps)?))
}

async fn chosen(
    shared: &Shared,
    plugin: &str,
    number: Option<u32>,
    default: Option<PluginRelease>,
) -> Result<Option<PluginRelease>, Problem> {
    match number {
        None => Ok(default),
        Some(number) => {
            find(shared, &ReleaseName { plugin: plugin.to_owned(), number }).await.map(Some)
        }
    }
}

pub(super) async fn standing_of(shared: &Shared, plugin: &str) -> Result<PluginStanding, Problem> {
    let plugins = shared.api.releases.plugins().await?;
    let found = plugins.into_iter().find(|standing| standing.plugin == plugin);
    found.ok_or_else(|| Problem::not_found("plugin"))
}
