//! `POST /v1/events/{id}/cancel`: a PENDING event that has not begun becomes FAILED, as cancelled.
//!
//! A repeat changes nothing and is answered the same.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;

use crate::domain::{EventId, EventStatus, FailureCode};
use crate::store::Cancelled;

use super::super::auth::Caller;
use super::super::path::PathId;
use super::super::problem::{Problem, ProblemKind};
use super::super::state::Shared;
use super::reason::read_reason;

#[derive(Debug, Serialize)]
pub(in crate::api) struct CancelView {
    id: String,
    status: &'static str,
    failure_code: &'static str,
}

pub(in crate::api) async fn cancel_event(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<EventId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CancelView>, Problem> {
    let reason = read_reason(&caller.name, &headers, body, &shared.api.limits).await?;
    let refused = |detail: String| Err(Problem::new(ProblemKind::EventNotCancellable, detail));
    match shared.api.repair.cancel(id, &reason).await? {
        Cancelled::Now | Cancelled::Already => Ok(Json(CancelView {
            id: id.to_string(),
            status: EventStatus::Failed.as_str(),
            failure_code: FailureCode::Cancelled.as_str(),
        })),
        Cancelled::Begun(status) => refused(format!(
            "The event is {status}; only a PENDING event that no host has taken yet can be \
             cancelled."
        )),
        Cancelled::OfWithdrawal => refused(
            "The event belongs to a withdrawal. A withdrawal is cancelled as a whole, never one \
             event of it: POST /v1/withdrawals/{id}/cancel."
                .to_owned(),
        ),
        Cancelled::NotFound => Err(Problem::not_found("event")),
    }
}
