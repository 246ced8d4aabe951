//! The node's routes: JSON-RPC on `/`, and for people and tests `/transfers` and `/_faults`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use serde::Deserialize;
use serde_json::json;

use super::fault::{ChainFault, Fault, FaultRequest, NodeFault};
use super::{Shared, rpc, view};
use crate::sandbox::fault::{refuse, slow};
use crate::sandbox::journal::JournalError;
use crate::sandbox::server::cut;

const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", post(answer_rpc))
        .route("/transfers", get(list_transfers))
        .route("/_faults", post(set_fault).delete(clear_faults))
        .route("/healthz", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(shared)
}

async fn answer_rpc(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let batch = match rpc::Batch::parse(&body) {
        Ok(batch) => batch,
        Err(answer) => return Json(answer).into_response(),
    };
    // Control goes through whatever the fault is.
    let fault = if batch.is_control() {
        None
    } else {
        shared.faults.strike_if(|fault| match fault {
            NodeFault::DropAnswerAfterAccept => batch.sends(),
            NodeFault::Down | NodeFault::RefuseConnections | NodeFault::SlowMs(_) => true,
        })
    };
    match fault {
        Some(NodeFault::Down) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "down", "the node is down");
        }
        Some(NodeFault::RefuseConnections) => return cut(),
        Some(NodeFault::SlowMs(ms)) => slow(ms, &shared.stop).await,
        Some(NodeFault::DropAnswerAfterAccept) | None => {}
    }
    let answer = batch.answer(&shared);
    if fault == Some(NodeFault::DropAnswerAfterAccept) {
        return cut();
    }
    match answer {
        Ok(Some(answer)) => Json(answer).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => broken(&error),
    }
}

/// Nothing that is not in the journal may be told.
fn broken(error: &JournalError) -> Response {
    tracing::error!(%error, "the node cannot write its journal");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "journal", "the node cannot write its journal")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransfersQuery {
    from_block: Option<u64>,
    limit: Option<usize>,
}

async fn list_transfers(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<TransfersQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(error.status(), "invalid_query", &error.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let from = query.from_block.unwrap_or(0);
    let transfers = shared.with_chain(|chain| {
        let transfers: Vec<_> = view::transfers(chain, from, chain.head()).take(limit).collect();
        (transfers, Vec::new())
    });
    match transfers {
        Ok(transfers) => Json(json!({ "transfers": transfers })).into_response(),
        Err(error) => broken(&error),
    }
}

async fn set_fault(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<FaultRequest>, JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return refuse(error.status(), "invalid_body", &error.body_text()),
    };
    match request.fault() {
        Ok(fault) => match set(&shared, fault, request.count) {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(error) => broken(&error),
        },
        Err(reason) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fault", &reason),
    }
}

pub(super) fn set(shared: &Shared, fault: Fault, count: Option<u32>) -> Result<(), JournalError> {
    match fault {
        Fault::Node(fault) => {
            shared.faults.set(fault, count);
            Ok(())
        }
        Fault::Chain(fault) => shared.with_chain(|chain| ((), fault.carry_out(chain))),
    }
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response {
    match clear(&shared) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => broken(&error),
    }
}

pub(super) fn clear(shared: &Shared) -> Result<(), JournalError> {
    shared.faults.clear();
    shared.with_chain(|chain| {
        ChainFault::ResumeMining.carry_out(chain);
        ChainFault::Lag { blocks: 0 }.carry_out(chain);
        ((), Vec::new())
    })
}
