//! `POST /v1/routes/{event_type}/pause` and `…/resume`: for all hosts at once, until told otherwise.
//!
//! They need no key: a repeat changes nothing and says so.

use axum::body::Body;
use axum::extract::{Path, State};
use http::HeaderMap;
use serde::Serialize;

use crate::domain::EventType;
use crate::store::{ControlChange, ControlNote};

use super::super::auth::Caller;
use super::super::body::read_json;
use super::super::json::Json;
use super::super::problem::{FieldError, Problem, ProblemKind};
use super::super::state::{Limits, Shared};

#[derive(Debug, Serialize)]
pub(in crate::api) struct ControlledView {
    event_type: String,
    paused: bool,
    /// False if it was so already.
    changed: bool,
}

type EventTypePath = Result<Path<String>, axum::extract::rejection::PathRejection>;

pub(in crate::api) async fn pause_route(
    State(shared): State<Shared>,
    caller: Caller,
    path: EventTypePath,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<ControlledView>, Problem> {
    control(&shared, &caller, path, &headers, body, true).await
}

pub(in crate::api) async fn resume_route(
    State(shared): State<Shared>,
    caller: Caller,
    path: EventTypePath,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<ControlledView>, Problem> {
    control(&shared, &caller, path, &headers, body, false).await
}

async fn control(
    shared: &Shared,
    caller: &Caller,
    path: EventTypePath,
    headers: &HeaderMap,
    body: Body,
    paused: bool,
) -> Result<axum::Json<ControlledView>, Problem> {
    let event_type = event_type_of(path)?;
    let reason = read_reason(headers, body, &shared.api.limits).await?;
    let note = ControlNote { reason: &reason, by: &caller.name };
    let store = &shared.api.control;
    let change = if paused {
        store.pause_route(&event_type, note).await?
    } else {
        store.resume_route(&event_type, note).await?
    };
    tracing::warn!(%event_type, paused, reason, by = caller.name, ?change, "a route is paused or resumed");
    let changed = change == ControlChange::Changed;
    Ok(axum::Json(ControlledView { event_type: event_type.to_string(), paused, changed }))
}

/// A type that no host knows yet can be paused before its first event; a text that is no type
/// names nothing.
fn event_type_of(path: EventTypePath) -> Result<EventType, Problem> {
    let parsed = path.ok().and_then(|Path(text)| text.parse().ok());
    parsed.ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, "An event type is made of A-Z, 0-9 and _.")
    })
}

/// The body is `{"reason": "…"}`, for those who come later.
pub(in crate::api) async fn read_reason(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<String, Problem> {
    let body = read_json(headers, body, limits).await?;
    let wrong = |field: &str, code, detail: String| {
        let errors = vec![FieldError::new(field, code, detail)];
        Err(Problem::with_errors(ProblemKind::InvalidFields, errors))
    };
    let Json::Object(entries) = body else {
        return wrong("$", "wrong_type", format!("must be an object, and is {}", body.kind()));
    };
    if let Some((unknown, _)) = entries.iter().find(|(key, _)| key != "reason") {
        return wrong(unknown, "unknown", "is unknown; the field is: reason".to_owned());
    }
    match entries.as_slice() {
        [] => wrong("reason", "required", "is missing".to_owned()),
        [(_, Json::Text(reason))] => {
            let valid = (1..=512).contains(&reason.chars().count())
                && !reason.chars().any(char::is_control);
            if valid {
                Ok(reason.clone())
            } else {
                let rule = "needs 1 to 512 characters and no control characters";
                wrong("reason", "invalid", rule.to_owned())
            }
        }
        [(_, other)] => {
            wrong("reason", "wrong_type", format!("must be a string, and is {}", other.kind()))
        }
        [_, _, ..] => wrong("reason", "duplicate", "is given more than once".to_owned()),
    }
}
