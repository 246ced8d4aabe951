//! What stands around every request: a bound on how many, a time limit, and an answer even when a
//! handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};

use super::problem::{Problem, ProblemKind};
use super::state::Shared;

/// What a caller should wait before it asks a host again that has its hands full.
const OVERLOADED_RETRY_S: u32 = 1;

pub(super) async fn around(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    // Whether the process lives must be seen just when it has its hands full.
    let health = request.uri().path() == "/healthz";
    let permit = shared.permits.try_acquire();
    let mut response = if permit.is_err() && !health {
        let detail = "Send the same request again a little later.";
        Problem::new(ProblemKind::Overloaded, detail)
            .retry_after(OVERLOADED_RETRY_S)
            .into_response()
    } else {
        bounded(&shared, request, next).await
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn bounded(shared: &Shared, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    // The route and not the path: ids would make every line, and later every series, its own.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let response = answer(shared, request, next, &method, route).await;
    tracing::debug!(
        http.method = %method,
        http.route = route,
        http.status = response.status().as_u16(),
        duration_ms = began.elapsed().as_secs_f64() * 1_000.0,
        "a request was answered"
    );
    response
}

async fn answer(
    shared: &Shared,
    request: Request,
    next: Next,
    method: &Method,
    route: &str,
) -> Response {
    let run = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(shared.api.limits.request_timeout, run).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(http.method = %method, http.route = route, "a request handler panicked");
            Problem::new(ProblemKind::Internal, "The host's log says what went wrong.")
                .into_response()
        }
        Err(_) => {
            tracing::warn!(http.method = %method, http.route = route, "a request took too long");
            Problem::unavailable(
                "It took too long, and whether it was done is not known. Send the same request \
                 again; with the same Idempotency-Key nothing is done twice.",
            )
            .into_response()
        }
    }
}

pub(super) async fn answer_unknown_path() -> Problem {
    Problem::new(ProblemKind::NotFound, "There is no such path; /openapi.json lists what there is.")
}

/// The router adds `Allow`.
pub(super) async fn answer_other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let detail = "The header Allow lists the methods of this path.";
    Problem::new(ProblemKind::MethodNotAllowed, detail).into_response()
}
