//! What people decide about releases: approve, roll back, disable, enable. Each takes
//! `{"reason": "…"}`, and `?plan=true` tells what it would do and does nothing.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use serde::Serialize;

use crate::domain::{ReleaseName, ReleaseState};
use crate::store::{Approved, PluginRelease, ReleaseNote, RolledBack};

use super::super::auth::Caller;
use super::super::problem::{Problem, ProblemKind};
use super::super::query::Query;
use super::super::routes::read_reason;
use super::super::state::Shared;
use super::history::standing_of;
use super::plan::PlanView;
use super::view::ReleaseView;
use super::{PluginPath, ReleasePath, find, plugin_of, release_of, require_store};

#[derive(Debug, Serialize)]
pub(in crate::api) struct RolledBackView {
    plugin: String,
    /// The number of the release that is live now.
    live: Option<u32>,
    /// The candidate that was taken back, if that is what was done.
    taken_back: Option<u32>,
    /// False if it was so already.
    changed: bool,
}

#[derive(Debug, Serialize)]
pub(in crate::api) struct DisabledView {
    plugin: String,
    disabled: bool,
    /// False if it was so already.
    changed: bool,
}

fn conflict(detail: String) -> Problem {
    Problem::new(ProblemKind::ReleaseConflict, detail)
}

fn read_plan(uri: &Uri) -> Result<bool, Problem> {
    let mut query = Query::new(uri);
    let plan = query.parsed("plan", "needs true or false").unwrap_or(false);
    query.finish()?;
    Ok(plan)
}

pub(in crate::api) async fn approve_release(
    State(shared): State<Shared>,
    caller: Caller,
    path: ReleasePath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = release_of(path)?;
    require_store(&shared)?;
    let plan = read_plan(&uri)?;
    let release = find(&shared, &name).await?;
    if plan {
        let live = standing_of(&shared, &name.plugin).await?.live;
        let steps = vec![match release.state {
            ReleaseState::Shadow => "it becomes live on all hosts at once".to_owned(),
            _ => "every host fetches, verifies and compiles it, and it goes on".to_owned(),
        }];
        return Ok(Json(PlanView::between(live.as_ref(), &release, steps)?).into_response());
    }
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ReleaseNote { reason: &reason, by: &caller.name };
    match shared.api.releases.approve(&name, note).await? {
        Approved::Now => Ok(Json(ReleaseView::from(find(&shared, &name).await?)).into_response()),
        Approved::NotHeld(state) => Err(conflict(format!(
            "{name} is {state}; only a HELD release or a SHADOW is approved."
        ))),
        Approved::NotPrepared(hosts) => {
            let hosts = hosts.join(", ");
            Err(conflict(format!("{name} cannot become live: {hosts} could not take it over.")))
        }
        Approved::NotFound => Err(Problem::not_found("release")),
    }
}

pub(in crate::api) async fn roll_back_plugin(
    State(shared): State<Shared>,
    caller: Caller,
    path: PluginPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let plugin = plugin_of(path)?;
    require_store(&shared)?;
    let mut query = Query::new(&uri);
    let plan = query.parsed("plan", "needs true or false").unwrap_or(false);
    let to: Option<u32> = query.parsed("to", "needs the number of a release");
    query.finish()?;
    if plan {
        return Ok(Json(plan_rollback(&shared, &plugin, to).await?).into_response());
    }
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ReleaseNote { reason: &reason, by: &caller.name };
    let done = shared.api.releases.roll_back(&plugin, to, note).await?;
    let view = |live, taken_back, changed| {
        Ok(Json(RolledBackView { plugin: plugin.clone(), live, taken_back, changed })
            .into_response())
    };
    match done {
        RolledBack::To(number) => view(Some(number), None, true),
        RolledBack::Already(number) => view(Some(number), None, false),
        RolledBack::CandidateTakenBack(number) => {
            let live = standing_of(&shared, &plugin).await?.live.map(|live| live.name.number);
            view(live, Some(number), true)
        }
        RolledBack::NeverLive(number) => {
            Err(conflict(format!("#{number} was never live, so nobody knows whether it can be.")))
        }
        RolledBack::ComponentGone(number) => Err(conflict(format!(
            "#{number} was live too long ago: its component is not kept any more. Deploy it again."
        ))),
        RolledBack::NothingBefore => {
            Err(conflict(format!("{plugin} has no such release that was live before.")))
        }
    }
}

async fn plan_rollback(
    shared: &Shared,
    plugin: &str,
    to: Option<u32>,
) -> Result<PlanView, Problem> {
    let standing = standing_of(shared, plugin).await?;
    if let (None, Some(candidate)) = (to, &standing.candidate) {
        let steps = vec![format!("{} is taken back; what is live stays", candidate.name)];
        return Ok(PlanView::of_steps(plugin, standing.live.as_ref(), steps));
    }
    let target = match to {
        Some(number) => find(shared, &ReleaseName { plugin: plugin.to_owned(), number }).await?,
        None => {
            let (releases, _) = shared.api.releases.release_history(plugin, 500).await?;
            let retired = releases.into_iter().filter(|it| it.state == ReleaseState::Retired);
            let newest = retired.max_by_key(|it: &PluginRelease| it.live_at);
            newest
                .ok_or_else(|| conflict(format!("{plugin} has no release that was live before.")))?
        }
    };
    if target.live_at.is_none() {
        return Err(conflict(format!("{} was never live.", target.name)));
    }
    let steps = vec![format!("{} becomes live on all hosts at once", target.name)];
    PlanView::between(standing.live.as_ref(), &target, steps)
}

pub(in crate::api) async fn disable_plugin(
    State(shared): State<Shared>,
    caller: Caller,
    path: PluginPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    set_disabled(&shared, &caller, path, &uri, &headers, body, true).await
}

pub(in crate::api) async fn enable_plugin(
    State(shared): State<Shared>,
    caller: Caller,
    path: PluginPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    set_disabled(&shared, &caller, path, &uri, &headers, body, false).await
}

async fn set_disabled(
    shared: &Shared,
    caller: &Caller,
    path: PluginPath,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    disabled: bool,
) -> Result<Response, Problem> {
    let plugin = plugin_of(path)?;
    require_store(shared)?;
    if read_plan(uri)? {
        let standing = standing_of(shared, &plugin).await?;
        let steps = vec![match (standing.disabled, disabled) {
            (true, true) => "nothing: it is disabled already".to_owned(),
            (false, false) => "nothing: it is enabled already".to_owned(),
            (false, true) => "no host takes its events any more; they wait as PENDING".to_owned(),
            (true, false) => "all hosts take its events again".to_owned(),
        }];
        let view = PlanView::of_steps(&plugin, standing.live.as_ref(), steps);
        return Ok(Json(view).into_response());
    }
    let reason = read_reason(headers, body, &shared.api.limits).await?;
    let note = ReleaseNote { reason: &reason, by: &caller.name };
    match shared.api.releases.set_disabled(&plugin, disabled, note).await? {
        Some(changed) => Ok(Json(DisabledView { plugin, disabled, changed }).into_response()),
        None => Err(Problem::not_found("plugin")),
    }
}
