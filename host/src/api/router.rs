//! The table of what there is. `openapi.json` describes the same; a test compares them.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use http::Method;

use super::accounts::{freeze_account, get_account, list_accounts, unfreeze_account};
use super::approvals::{approve_withdrawal, list_approvals, list_decisions, reject_withdrawal};
use super::auth::{Access, Role, require};
use super::breakers::{close_breaker, list_breakers, open_breaker};
use super::events::{
    accept_events, cancel_event, get_event, list_events, list_failures, replay_event,
    replay_events, skip_event,
};
use super::freezes::{lift_freeze, list_freezes, set_freeze};
use super::guard::{answer_other_method, answer_unknown_path, around};
use super::health::{get_health, get_readiness};
use super::metrics::get_metrics;
use super::openapi::get_openapi;
use super::plugins::list_plugins;
use super::releases::{
    approve_held_plugin, approve_release, deploy_release, disable_plugin, enable_plugin,
    get_difference, get_release, get_release_history, roll_back_plugin,
};
use super::routes::{list_routes, pause_route, resume_route};
use super::state::{Api, Inner, Shared};
use super::withdrawals::{
    accept_withdrawal, cancel_withdrawal, get_timeline, get_withdrawal, list_withdrawals,
};

/// One line of the table.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    handler: MethodRouter<Shared>,
}

#[rustfmt::skip]
pub(super) fn routes() -> Vec<Route> {
    use Access::{Needs, Open};
    use Role::{Approve, Deploy, Operate, Read, Submit};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    let route = |method, path, access, handler| Route { method, path, access, handler };
    vec![
        route(POST, "/v1/withdrawals",               Needs(Submit),  post(accept_withdrawal)),
        route(GET,  "/v1/withdrawals",               Needs(Read),    get(list_withdrawals)),
        route(GET,  "/v1/withdrawals/{id}",          Needs(Read),    get(get_withdrawal)),
        route(GET,  "/v1/withdrawals/{id}/timeline", Needs(Read),    get(get_timeline)),
        route(POST, "/v1/withdrawals/{id}/cancel",   Needs(Operate), post(cancel_withdrawal)),
        route(GET,  "/v1/accounts",                  Needs(Read),    get(list_accounts)),
        route(GET,  "/v1/accounts/{network}/{address}", Needs(Read), get(get_account)),
        route(POST, "/v1/accounts/{network}/{address}/freeze", Needs(Operate), post(freeze_account)),
        route(POST, "/v1/accounts/{network}/{address}/unfreeze", Needs(Operate), post(unfreeze_account)),
        route(POST, "/v1/withdrawals/{id}/approve",  Needs(Approve), post(approve_withdrawal)),
        route(POST, "/v1/withdrawals/{id}/reject",   Needs(Approve), post(reject_withdrawal)),
        route(GET,  "/v1/withdrawals/{id}/decisions", Needs(Read),   get(list_decisions)),
        route(GET,  "/v1/approvals",                 Needs(Read),    get(list_approvals)),
        route(GET,  "/v1/freezes",                   Needs(Read),    get(list_freezes)),
        route(POST, "/v1/freezes",                   Needs(Operate), post(set_freeze)),
        route(POST, "/v1/freezes/{id}/lift",         Needs(Operate), post(lift_freeze)),
        route(POST, "/v1/events",                    Needs(Submit),  post(accept_events)),
        route(GET,  "/v1/events",                    Needs(Read),    get(list_events)),
        route(GET,  "/v1/events/{id}",               Needs(Read),    get(get_event)),
        route(POST, "/v1/events/{id}/replay",        Needs(Operate), post(replay_event)),
        route(GET,  "/v1/routes",                    Needs(Read),    get(list_routes)),
        route(POST, "/v1/routes/{event_type}/pause", Needs(Operate), post(pause_route)),
        route(POST, "/v1/routes/{event_type}/resume", Needs(Operate), post(resume_route)),
        route(GET,  "/v1/plugins",                   Needs(Read),    get(list_plugins)),
        route(GET,  "/v1/breakers",                  Needs(Read),    get(list_breakers)),
        route(POST, "/v1/breakers/{plugin}/{target}/open", Needs(Operate), post(open_breaker)),
        route(POST, "/v1/breakers/{plugin}/{target}/close", Needs(Operate), post(close_breaker)),
        route(GET,  "/metrics",                      Needs(Read),    get(get_metrics)),
        route(POST, "/v1/events/{id}/skip",          Needs(Operate), post(skip_event)),
        route(POST, "/v1/events/{id}/cancel",        Needs(Operate), post(cancel_event)),
        route(GET,  "/v1/events/failures",           Needs(Read),    get(list_failures)),
        route(POST, "/v1/events/replay",             Needs(Operate), post(replay_events)),
        route(PUT,  "/v1/plugins/{plugin}/releases", Needs(Deploy),  put(deploy_release)),
        route(GET,  "/v1/plugins/{plugin}/releases", Needs(Read),    get(get_release_history)),
        route(GET,  "/v1/plugins/{plugin}/releases/{number}", Needs(Read), get(get_release)),
        route(POST, "/v1/plugins/{plugin}/releases/{number}/approve", Needs(Operate), post(approve_release)),
        route(POST, "/v1/plugins/{plugin}/approve",  Needs(Operate), post(approve_held_plugin)),
        route(GET,  "/v1/plugins/{plugin}/difference", Needs(Read),  get(get_difference)),
        route(POST, "/v1/plugins/{plugin}/rollback", Needs(Deploy),  post(roll_back_plugin)),
        route(POST, "/v1/plugins/{plugin}/disable",  Needs(Operate), post(disable_plugin)),
        route(POST, "/v1/plugins/{plugin}/enable",   Needs(Operate), post(enable_plugin)),
        route(GET,  "/healthz",                      Open,           get(get_health)),
        route(GET,  "/readyz",                       Open,           get(get_readiness)),
        route(GET,  "/openapi.json",                 Open,           get(get_openapi)),
    ]
}

/// The whole API.
pub fn router(api: Api) -> Router {
    let shared: Shared = Arc::new(Inner::new(api));
    let mut router = Router::new();
    for Route { method, path, access, handler } in routes() {
        tracing::debug!(http.method = %method, http.path = path, ?access, "the API has a route");
        let access = match path {
            "/metrics" if shared.api.limits.metrics_open => Access::Open,
            _ => access,
        };
        let handler = match access {
            Access::Open => handler,
            Access::Needs(role) => {
                handler.route_layer(from_fn_with_state((Arc::clone(&shared), role), require))
            }
        };
        router = router.route(path, handler);
    }
    router
        .fallback(answer_unknown_path)
        .method_not_allowed_fallback(answer_other_method)
        .layer(from_fn_with_state(Arc::clone(&shared), around))
        .with_state(shared)
}
