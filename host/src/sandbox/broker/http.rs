//! The event stream's routes.

use std::sync::Arc;

use alloy_primitives::hex;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{EventStreamFault, HeldMessage, Shared};
use crate::sandbox::fault::refuse;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/messages", get(list_messages))
        .route("/_faults", post(set_fault).get(get_fault).delete(clear_faults))
        .route("/healthz", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(shared)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    topic: Option<String>,
    /// The last sequence of the page before.
    after: Option<usize>,
    limit: Option<usize>,
}

async fn list_messages(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(error.status(), "invalid_query", &error.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let held = shared.held();
    let messages: Vec<Value> = held
        .messages
        .iter()
        .skip(query.after.unwrap_or(0))
        .filter(|held| query.topic.as_ref().is_none_or(|topic| *topic == held.stored.message.topic))
        .take(limit)
        .map(view)
        .collect();
    let next = (messages.len() == limit)
        .then(|| messages.last().map(|message| message["sequence"].clone()))
        .flatten();
    Json(json!({ "messages": messages, "next": next })).into_response()
}

/// A JSON body is shown as JSON, other text as text, anything else in hexadecimal.
fn view(held: &HeldMessage) -> Value {
    let message = &held.stored.message;
    let mut view = json!({
        "sequence": held.stored.sequence,
        "topic": message.topic,
        "id": message.id,
        "content_type": message.content_type,
        "published_at_ms": held.published_at_ms,
    });
    let body = if let Ok(value) = serde_json::from_slice::<Value>(&message.body) {
        ("body", value)
    } else if let Ok(text) = std::str::from_utf8(&message.body) {
        ("body_text", Value::from(text))
    } else {
        ("body_hex", Value::from(hex::encode(&message.body)))
    };
    view[body.0] = body.1;
    view
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    mode: EventStreamFault,
    /// For how many publications; null or absent means until it is cleared.
    count: Option<u32>,
}

async fn set_fault(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<FaultRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => {
            shared.faults.set(request.mode, request.count);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => refuse(error.status(), "invalid_body", &error.body_text()),
    }
}

async fn get_fault(State(shared): State<Arc<Shared>>) -> Response {
    let current = shared.faults.current();
    let view = current.map(|(mode, count)| json!({ "mode": mode, "count": count }));
    Json(json!({ "fault": view })).into_response()
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}
