//! `GET /v1/events/{id}`: an event with its attempts, and what it waits for.

use axum::Json;
use axum::extract::State;

use crate::domain::EventId;

use super::super::path::PathId;
use super::super::problem::Problem;
use super::super::state::Shared;
use super::super::view::EventHistoryView;
use super::waits::waits;

pub(in crate::api) async fn get_event(
    State(shared): State<Shared>,
    PathId(id): PathId<EventId>,
) -> Result<Json<EventHistoryView>, Problem> {
    let Some(history) = shared.api.operate.event(id).await? else {
        return Err(Problem::not_found("event"));
    };
    let waits = waits(&shared, std::slice::from_ref(&history.event)).await?.remove(&id);
    Ok(Json(EventHistoryView::new(history, waits.unwrap_or_default())))
}
