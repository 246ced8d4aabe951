//! `GET /v1/withdrawals/{id}`

use axum::Json;
use axum::extract::State;

use crate::domain::WithdrawalId;

use super::super::path::PathId;
use super::super::problem::Problem;
use super::super::state::Shared;
use super::super::view::WithdrawalView;

pub(in crate::api) async fn get_withdrawal(
    State(shared): State<Shared>,
    PathId(id): PathId<WithdrawalId>,
) -> Result<Json<WithdrawalView>, Problem> {
    let Some(withdrawal) = shared.api.operate.withdrawal(id).await? else {
        return Err(Problem::not_found("withdrawal"));
    };
    let wait = shared.api.policies.waits(&[id]).await?.pop();
    Ok(Json(WithdrawalView::waiting(withdrawal, wait)))
}
