//! `GET /v1/events/{id}`: an event with its attempts, and what holds it.

use axum::Json;
use axum::extract::State;

use crate::domain::{EventId, EventStatus, OutboxEvent};

use super::super::path::PathId;
use super::super::problem::Problem;
use super::super::state::{Inner, Shared};
use super::super::view::EventHistoryView;

pub(in crate::api) async fn get_event(
    State(shared): State<Shared>,
    PathId(id): PathId<EventId>,
) -> Result<Json<EventHistoryView>, Problem> {
    let Some(history) = shared.api.operate.event(id).await? else {
        return Err(Problem::not_found("event"));
    };
    let held_by = held_by(&shared, &history.event).await?;
    Ok(Json(EventHistoryView::new(history, held_by)))
}

/// Asked only for what can be held: a PENDING event of an ordered route.
async fn held_by(shared: &Inner, event: &OutboxEvent) -> Result<Option<EventId>, Problem> {
    if event.state.status() != EventStatus::Pending {
        return Ok(None);
    }
    let among = shared.api.ordered.ordered_among(&event.event_type, &event.payload);
    if among.is_empty() {
        return Ok(None);
    }
    Ok(shared.api.repair.held_by(event.id, &among).await?)
}
