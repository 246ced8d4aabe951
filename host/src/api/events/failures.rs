//! `GET /v1/events/failures` and `POST /v1/events/replay`: which release failed what, and another
//! chance for all of it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;

use crate::domain::ReleaseState;
use crate::store::{CLAIM_MAX, FailureGroup, ReplayFailed};

use super::super::auth::Caller;
use super::super::body::read_json;
use super::super::json::Json as Sent;
use super::super::problem::{FieldError, Problem, ProblemKind};
use super::super::state::Shared;
use super::super::view::time;

#[derive(Debug, Serialize)]
pub(in crate::api) struct FailureListView {
    items: Vec<FailureView>,
}

#[derive(Debug, Serialize)]
struct FailureView {
    release_digest: Option<String>,
    plugin: Option<String>,
    release_number: Option<u32>,
    release_state: Option<&'static str>,
    event_type: String,
    failure_code: &'static str,
    reason: String,
    count: u64,
    example: String,
    first_at: String,
    last_at: String,
}

impl From<FailureGroup> for FailureView {
    fn from(group: FailureGroup) -> Self {
        let (name, state) = group.release.unzip();
        Self {
            release_digest: group.release_digest,
            release_number: name.as_ref().map(|name| name.number),
            plugin: name.map(|name| name.plugin),
            release_state: state.map(ReleaseState::as_str),
            event_type: group.event_type.to_string(),
            failure_code: group.code.as_str(),
            reason: group.reason,
            count: group.count,
            example: group.example.to_string(),
            first_at: time(group.first_at),
            last_at: time(group.last_at),
        }
    }
}

pub(in crate::api) async fn list_failures(
    State(shared): State<Shared>,
) -> Result<Json<FailureListView>, Problem> {
    let groups = shared.api.blame.failures().await?;
    Ok(Json(FailureListView { items: groups.into_iter().map(FailureView::from).collect() }))
}

#[derive(Debug, Serialize)]
pub(in crate::api) struct ReplayedView {
    replayed: u64,
    /// Whether there may be more: send the request again.
    more: bool,
}

pub(in crate::api) async fn replay_events(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReplayedView>, Problem> {
    let body = read_json(&headers, body, &shared.api.limits).await?;
    let (release_digest, reason) = read_filter(&body)
        .map_err(|errors| Problem::with_errors(ProblemKind::InvalidFields, errors))?;
    let request = ReplayFailed { release_digest, reason, limit: CLAIM_MAX, asked_by: &caller.name };
    let replayed = shared.api.blame.replay_failed(request).await?;
    Ok(Json(ReplayedView { replayed, more: replayed >= u64::from(CLAIM_MAX) }))
}

fn read_filter(body: &Sent) -> Result<(&str, Option<&str>), Vec<FieldError>> {
    let Sent::Object(entries) = body else {
        let detail = format!("must be an object, and is {}", body.kind());
        return Err(vec![FieldError::new("$", "wrong_type", detail)]);
    };
    let mut errors = Vec::new();
    let mut text = |name: &str, max: usize| {
        let mut given = entries.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let error = match (given.next(), given.next()) {
            (None, _) => return None,
            (Some(_), Some(_)) => ("duplicate", "is given more than once".to_owned()),
            (Some(Sent::Text(text)), None) if (1..=max).contains(&text.len()) => {
                return Some(text.as_str());
            }
            (Some(Sent::Text(_)), None) => ("invalid", format!("needs 1 to {max} bytes")),
            (Some(other), None) => {
                ("wrong_type", format!("must be a string, and is {}", other.kind()))
            }
        };
        errors.push(FieldError::new(name, error.0, error.1));
        None
    };
    let digest = text("release_digest", 64);
    let reason = text("reason", 16_384);
    if digest.is_none() && errors.iter().all(|error| error.field != "release_digest") {
        errors.push(FieldError::new("release_digest", "required", "is missing"));
    }
    for (key, _) in entries.iter().filter(|(key, _)| key != "release_digest" && key != "reason") {
        let detail = "is unknown; the fields are: release_digest, reason".to_owned();
        errors.push(FieldError::new(key, "unknown", detail));
    }
    match digest {
        Some(digest) if errors.is_empty() => Ok((digest, reason)),
        _ => Err(errors),
    }
}
