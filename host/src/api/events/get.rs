//! `GET /v1/events/{id}`: an event with its attempts.

use axum::Json;
use axum::extract::State;

use crate::domain::EventId;

use super::super::path::PathId;
use super::super::problem::Problem;
use super::super::state::Shared;
use super::super::view::EventHistoryView;

pub(in crate::api) async fn get_event(
    State(shared): State<Shared>,
    PathId(id): PathId<EventId>,
) -> Result<Json<EventHistoryView>, Problem> {
    match shared.api.operate.event(id).await? {
        Some(history) => Ok(Json(history.into())),
        None => Err(Problem::not_found("event")),
    }
}
