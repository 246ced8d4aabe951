//! The partner's routes.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::record::{Answer, Effect, Repeat};
use super::{PartnerFault, PartnerFaultMode, Shared};
use crate::sandbox::fault::{refuse, slow};
use crate::sandbox::server::cut;

const ID_BYTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 256;
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let service = Router::new()
        .route("/withdrawals", get(list_withdrawals))
        .route("/withdrawals/{id}", get(get_withdrawal).put(put_withdrawal))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), misbehave))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), count_request))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), check_api_key));
    // The switches work whatever fault is set, and without a key.
    let switches = Router::new()
        .route("/_faults", post(set_fault).get(get_fault).delete(clear_faults))
        .route("/healthz", get(|| async { StatusCode::NO_CONTENT }));
    service.merge(switches).with_state(shared)
}

async fn check_api_key(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(key) = &shared.api_key {
        let given = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        if !bool::from(given.as_bytes().ct_eq(key.as_bytes())) {
            return refuse(StatusCode::UNAUTHORIZED, "unauthorized", "the API key is not valid");
        }
    }
    next.run(request).await
}

/// Counts also what a fault keeps from the record.
async fn count_request(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Ok(Path(id)) = Path::<String>::from_request_parts(&mut parts, &shared).await
        && id.len() <= ID_BYTES_MAX
    {
        match parts.method {
            Method::PUT => shared.records().count_put(&id),
            _ => shared.records().count_get(&id),
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn misbehave(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let fault = shared.faults.strike_if(|fault| fault.concerns(request.method()));
    let mut cut_after = false;
    if let Some(fault) = fault {
        match fault.mode {
            PartnerFaultMode::Down => {
                let answer = refuse(StatusCode::SERVICE_UNAVAILABLE, "down", "the service is down");
                return with_retry_after(answer, fault.retry_after_s);
            }
            PartnerFaultMode::Http500 => {
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke");
            }
            PartnerFaultMode::Http429 => {
                let answer = refuse(StatusCode::TOO_MANY_REQUESTS, "rate", "too many requests");
                return with_retry_after(answer, Some(fault.retry_after_s.unwrap_or(1)));
            }
            PartnerFaultMode::DropBeforeEffect => return cut(),
            PartnerFaultMode::DropAfterEffect => cut_after = true,
            PartnerFaultMode::SlowMs(ms) => slow(ms, &shared.stop).await,
        }
    }
    let response = next.run(request).await;
    if cut_after { cut() } else { response }
}

fn with_retry_after(mut response: Response, seconds: Option<u64>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn put_withdrawal(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Response {
    let body = match body {
        Ok(Json(body)) => body,
        Err(error) => return refuse(error.status(), "invalid_body", &error.body_text()),
    };
    let effect = match effect(&shared, id, &headers, body) {
        Ok(effect) => effect,
        Err(reason) => {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_withdrawal", &reason);
        }
    };
    // One lock over look-up, journal and change: two requests with one key are one after the other.
    let mut records = shared.records();
    match records.repeat_of(&effect) {
        Some(Repeat::Same(answer)) => return answer_put(*answer),
        Some(Repeat::Another) => {
            return refuse(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with another request before",
            );
        }
        None => {}
    }
    if records.is_full() {
        return refuse(StatusCode::INSUFFICIENT_STORAGE, "full", "the partner holds no more");
    }
    if let Err(error) = shared.journal.append(&effect) {
        tracing::error!(%error, "the partner cannot write its journal");
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "cannot write the record");
    }
    answer_put(records.apply(effect))
}

fn effect(
    shared: &Shared,
    id: String,
    headers: &HeaderMap,
    body: Map<String, Value>,
) -> Result<Effect, String> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(format!("the id needs 1 to {ID_BYTES_MAX} bytes"));
    }
    let idempotency_key = match headers.get("idempotency-key") {
        None => None,
        Some(value) => match value.to_str() {
            Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Some(key.to_owned()),
            _ => return Err(format!("Idempotency-Key needs 1 to {KEY_BYTES_MAX} ASCII bytes")),
        },
    };
    let status = body.get("status").cloned().unwrap_or_default();
    let status = serde_json::from_value(status)
        .map_err(|_| "status must be REQUESTED, BROADCASTED, CONFIRMED or FAILED".to_owned())?;
    Ok(Effect { id, idempotency_key, status, body, at_ms: shared.clock.now_ms() })
}

fn answer_put(answer: Answer) -> Response {
    let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(answer.record)).into_response()
}

async fn get_withdrawal(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match shared.records().get(&id) {
        Some(record) => Json(record).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "not_found", "there is no such withdrawal"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// The last id of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

async fn list_withdrawals(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let records = shared.records().list(query.after.as_deref().unwrap_or_default(), limit);
    let next = (records.len() == limit).then(|| records.last().map(|record| record.id.clone()));
    Json(json!({ "withdrawals": records, "next": next.flatten() })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeName {
    Down,
    #[serde(rename = "http_500")]
    Http500,
    #[serde(rename = "http_429")]
    Http429,
    DropAfterEffect,
    DropBeforeEffect,
    SlowMs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    mode: ModeName,
    /// For how many requests; null or absent means until it is cleared.
    count: Option<u32>,
    /// With `slow_ms`.
    ms: Option<u64>,
    method: Option<String>,
    retry_after_s: Option<u64>,
}

async fn set_fault(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<FaultRequest>, JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return refuse(error.status(), "invalid_body", &error.body_text()),
    };
    let mode = match (request.mode, request.ms) {
        (ModeName::SlowMs, Some(ms)) => PartnerFaultMode::SlowMs(ms),
        (ModeName::SlowMs, None) => {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fault", "slow_ms needs ms");
        }
        (ModeName::Down, _) => PartnerFaultMode::Down,
        (ModeName::Http500, _) => PartnerFaultMode::Http500,
        (ModeName::Http429, _) => PartnerFaultMode::Http429,
        (ModeName::DropAfterEffect, _) => PartnerFaultMode::DropAfterEffect,
        (ModeName::DropBeforeEffect, _) => PartnerFaultMode::DropBeforeEffect,
    };
    let Ok(method) = request.method.map(|method| method.parse()).transpose() else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fault", "no such method");
    };
    let fault = PartnerFault { mode, method, retry_after_s: request.retry_after_s };
    shared.faults.set(fault, request.count);
    StatusCode::NO_CONTENT.into_response()
}

async fn get_fault(State(shared): State<Arc<Shared>>) -> Response {
    let current = shared.faults.current();
    let view = current
        .map(|(fault, count)| json!({ "mode": format!("{:?}", fault.mode), "count": count }));
    Json(json!({ "fault": view })).into_response()
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}
