//! `POST /v1/events/{id}/skip`: a FAILED event is given up, and those behind it go on.
//!
//! It stays FAILED, with `skipped_at`. A repeat changes nothing and is answered the same.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;

use crate::domain::{EventId, EventStatus};
use crate::store::Skipped;

use super::super::auth::Caller;
use super::super::path::PathId;
use super::super::problem::{Problem, ProblemKind};
use super::super::state::Shared;
use super::reason::read_reason;

#[derive(Debug, Serialize)]
pub(in crate::api) struct SkipView {
    id: String,
    status: &'static str,
    skipped: bool,
}

pub(in crate::api) async fn skip_event(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<EventId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SkipView>, Problem> {
    let reason = read_reason(&caller.name, &headers, body, &shared.api.limits).await?;
    match shared.api.repair.skip(id, &reason).await? {
        Skipped::Now | Skipped::Already => Ok(Json(SkipView {
            id: id.to_string(),
            status: EventStatus::Failed.as_str(),
            skipped: true,
        })),
        Skipped::NotFailed(status) => {
            let detail = format!("The event is {status}; only a FAILED event can be skipped.");
            Err(Problem::new(ProblemKind::EventNotFailed, detail))
        }
        Skipped::NotFound => Err(Problem::not_found("event")),
    }
}
