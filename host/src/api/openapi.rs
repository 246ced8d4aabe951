//! The API's description, for programs.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn get_openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
