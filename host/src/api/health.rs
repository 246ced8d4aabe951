//! `/healthz`: the process lives. `/readyz`: it can do its work, or why not. Both are open.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::problem::{Problem, ProblemKind};
use super::state::Shared;
use crate::store::StoreFault;

#[derive(Serialize)]
pub(super) struct StatusView {
    status: &'static str,
    /// How the host learns of events that others write.
    #[serde(skip_serializing_if = "Option::is_none")]
    wakeups: Option<&'static str>,
}

pub(super) async fn get_health() -> Json<StatusView> {
    Json(StatusView { status: "alive", wakeups: None })
}

pub(super) async fn get_readiness(
    State(shared): State<Shared>,
) -> Result<Json<StatusView>, Problem> {
    let not_ready = |why: &str| Problem::new(ProblemKind::NotReady, why).retry_after(1);
    let limit = shared.api.limits.ready_timeout;
    match tokio::time::timeout(limit, shared.api.operate.ping()).await {
        Ok(Ok(())) => {
            let woken = shared.api.operate.is_woken_by_others();
            let wakeups = Some(if woken { "listening" } else { "polling" });
            Ok(Json(StatusView { status: "ready", wakeups }))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the host is not ready");
            let fault = error.fault().unwrap_or(StoreFault::Other);
            Err(not_ready(&format!("{fault} The host's log says more.")))
        }
        Err(_) => Err(not_ready(&StoreFault::TimedOut.to_string())),
    }
}
