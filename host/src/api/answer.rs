//! Answers that the store keeps with an idempotency key, as they go out: the first time and again.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};

use crate::store::{Accepted, Answer};

use super::idempotency::REPLAYED_HEADER;
use super::problem::{Problem, ProblemKind};

/// `reused` tells the caller what to do if the key was used for another request.
pub(super) fn answer_repeat(accepted: Accepted, reused: &str) -> Result<Response, Problem> {
    match accepted {
        Accepted::Replayed(answer) => respond(answer, true),
        Accepted::KeyReused => Err(Problem::new(ProblemKind::IdempotencyKeyReused, reused)),
        // The store says this only to who writes, and that was answered.
        Accepted::Created => {
            tracing::error!("the store says that a repeat was the first");
            Err(Problem::new(ProblemKind::Internal, "The host's log says what went wrong."))
        }
    }
}

pub(super) fn respond(answer: Answer, replayed: bool) -> Result<Response, Problem> {
    let kept = StatusCode::from_u16(answer.status).ok();
    let location = HeaderValue::try_from(answer.location).ok();
    let (Some(status), Some(location)) = (kept, location) else {
        tracing::error!("the store keeps an answer that is no HTTP");
        return Err(Problem::new(ProblemKind::Internal, "The host's log says what went wrong."));
    };
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(LOCATION, location);
    if replayed {
        headers.insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    Ok(response)
}
