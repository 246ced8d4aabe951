//! `POST /v1/events/{id}/replay`: FAILED → PENDING.
//!
//! It takes no body and no key: a repeat finds the event PENDING and is told so with 409.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use crate::domain::{EventId, EventStatus};
use crate::store::Replayed;

use super::super::auth::Caller;
use super::super::path::PathId;
use super::super::problem::{Problem, ProblemKind};
use super::super::state::Shared;

#[derive(Debug, Serialize)]
pub(in crate::api) struct ReplayView {
    id: String,
    status: &'static str,
}

pub(in crate::api) async fn replay_event(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<EventId>,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    match shared.api.operate.replay(id, &caller.name).await? {
        Replayed::Pending => {
            let view = ReplayView { id: id.to_string(), status: EventStatus::Pending.as_str() };
            Ok((StatusCode::ACCEPTED, Json(view)))
        }
        Replayed::NotFailed(status) => {
            let detail = format!("The event is {status}; only a FAILED event can be replayed.");
            Err(Problem::new(ProblemKind::EventNotFailed, detail))
        }
        Replayed::NotFound => Err(Problem::not_found("event")),
    }
}
