//! `/healthz`: the process lives. `/readyz`: it can do its work, or why not. Both are open.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::problem::{Problem, ProblemKind};
use super::state::Shared;

#[derive(Serialize)]
pub(super) struct StatusView {
    status: &'static str,
}

pub(super) async fn get_health() -> Json<StatusView> {
    Json(StatusView { status: "alive" })
}

pub(super) async fn get_readiness(
    State(shared): State<Shared>,
) -> Result<Json<StatusView>, Problem> {
    let not_ready = |why: &str| Problem::new(ProblemKind::NotReady, why).retry_after(1);
    let limit = shared.api.limits.ready_timeout;
    match tokio::time::timeout(limit, shared.api.operate.ping()).await {
        Ok(Ok(())) => Ok(Json(StatusView { status: "ready" })),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the host is not ready");
            Err(not_ready("The store cannot be reached; the host's log says why."))
        }
        Err(_) => Err(not_ready("The store does not answer in time.")),
    }
}
