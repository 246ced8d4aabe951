//! A node's routes: JSON-RPC on `/`, and for people and tests `/transfers`, `/inclusions`,
//! `/sightings` and `/_faults`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{NodeAnswer, answer, broken};
use super::fault_request::FaultRequest;
use super::{Shared, view, witness};
use crate::sandbox::fault::refuse;
use crate::sandbox::journal::JournalError;
use crate::sandbox::server::cut;

const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;

/// One node of the network.
#[derive(Debug, Clone)]
struct Door {
    shared: Arc<Shared>,
    node: usize,
    stop: CancellationToken,
}

pub(super) fn router(shared: Arc<Shared>, node: usize, stop: CancellationToken) -> Router {
    Router::new()
        .route("/", post(answer_rpc))
        .route("/transfers", get(list_transfers))
        .route("/inclusions", get(list_inclusions))
        .route("/sightings", get(list_sightings))
        .route("/_faults", post(set_fault).delete(clear_faults))
        .route("/healthz", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(Door { shared, node, stop })
}

async fn answer_rpc(State(door): State<Door>, body: Bytes) -> Response {
    respond(answer(&door.shared, door.node, &body, &door.stop).await)
}

fn respond(answer: NodeAnswer) -> Response {
    match answer {
        NodeAnswer::Cut => cut(),
        NodeAnswer::Body { status, retry_after_s, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let mut response = (status, body).into_response();
            let headers = response.headers_mut();
            headers
                .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            if let Some(seconds) = retry_after_s {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
            }
            response
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransfersQuery {
    from_block: Option<u64>,
    limit: Option<usize>,
}

async fn list_transfers(
    State(door): State<Door>,
    query: Result<Query<TransfersQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(error.status(), "invalid_query", &error.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let from = query.from_block.unwrap_or(0);
    let transfers = door.shared.read(|network| {
        let (chain, head) = (&network.chain, network.nodes[door.node].head(&network.chain));
        view::transfers(chain, from, head).take(limit).collect::<Vec<_>>()
    });
    respond_json(transfers.map(|transfers| json!({ "transfers": transfers })))
}

async fn list_inclusions(State(door): State<Door>) -> Response {
    let inclusions = door.shared.read(|network| witness::inclusions(&network.chain));
    let views = |all: Vec<witness::Inclusion>| all.iter().map(witness::Inclusion::view).collect();
    respond_json(inclusions.map(|all| json!({ "inclusions": Value::Array(views(all)) })))
}

async fn list_sightings(State(door): State<Door>) -> Response {
    let sightings = door.shared.sightings();
    let views: Vec<Value> = sightings.iter().map(witness::Sighting::view).collect();
    Json(json!({ "sightings": views })).into_response()
}

fn respond_json(view: Result<Value, JournalError>) -> Response {
    match view {
        Ok(view) => Json(view).into_response(),
        Err(error) => respond(broken(&error)),
    }
}

async fn set_fault(State(door): State<Door>, body: Result<Json<Value>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return refuse(error.status(), "invalid_body", &error.body_text()),
    };
    match FaultRequest::parse(request) {
        Ok(request) => done(door.shared.set(door.node, request)),
        Err(reason) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fault", &reason),
    }
}

async fn clear_faults(State(door): State<Door>) -> Response {
    done(door.shared.heal())
}

fn done(result: Result<(), JournalError>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => respond(broken(&error)),
    }
}
