//! `POST /v1/withdrawals/{id}/cancel`: FAILED at once, where nothing was signed; else its payment is
//! closed, and the chain decides.
//!
//! It needs no key: a repeat changes nothing and is answered the same.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::domain::{WithdrawalId, WithdrawalStatus};
use crate::store::CancelledWithdrawal;

use super::super::auth::Caller;
use super::super::path::PathId;
use super::super::problem::{Problem, ProblemKind};
use super::super::routes::read_reason;
use super::super::state::Shared;

#[derive(Debug, Serialize)]
struct CancelView {
    id: String,
    /// `failed`: it will never be paid. `closing`: the chain decides; the status follows.
    outcome: &'static str,
    status: Option<&'static str>,
}

pub(in crate::api) async fn cancel_withdrawal(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId<WithdrawalId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let cancelled = shared.api.repair.cancel_withdrawal(id, &reason, &caller.name).await?;
    tracing::warn!(withdrawal.id = %id, reason, by = caller.name, ?cancelled, "a withdrawal is cancelled");
    let view = |outcome, status: Option<WithdrawalStatus>| {
        let status = status.map(WithdrawalStatus::as_str);
        axum::Json(CancelView { id: id.to_string(), outcome, status })
    };
    match cancelled {
        CancelledWithdrawal::Failed => {
            Ok(view("failed", Some(WithdrawalStatus::Failed)).into_response())
        }
        CancelledWithdrawal::Closing => {
            Ok((StatusCode::ACCEPTED, view("closing", None)).into_response())
        }
        CancelledWithdrawal::Paid => Err(Problem::new(
            ProblemKind::WithdrawalNotCancellable,
            "The withdrawal is CONFIRMED: its payment is final.",
        )),
        CancelledWithdrawal::NotFound => Err(Problem::not_found("withdrawal")),
    }
}
