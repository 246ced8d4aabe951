//! `GET /metrics`: what the host counts, as Prometheus reads it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::state::Shared;

pub(super) async fn get_metrics(State(shared): State<Shared>) -> Response {
    let mut response = (shared.api.metrics)().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
