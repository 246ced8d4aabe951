//! `GET /v1/withdrawals`

use axum::Json;
use axum::extract::State;
use http::Uri;

use crate::domain::Withdrawal;
use crate::store::{Page, WithdrawalFilter};

use super::super::page::{List, PageView};
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::state::Shared;
use super::super::view::WithdrawalView;

pub(in crate::api) async fn list_withdrawals(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<PageView<WithdrawalView>>, Problem> {
    let (filter, page) = read_query(&uri)?;
    let rows = shared.api.operate.withdrawals(&filter, page).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let waits = shared.api.policies.waits(&ids).await?;
    let view = |row: Withdrawal| {
        let wait = waits.iter().find(|wait| wait.withdrawal == row.id).cloned();
        WithdrawalView::waiting(row, wait)
    };
    Ok(Json(List::Withdrawals.view(page, rows, |row| row.id.as_uuid(), view)))
}

fn read_query(uri: &Uri) -> Result<(WithdrawalFilter, Page), Problem> {
    let mut query = Query::new(uri);
    let statuses = "needs one of REQUESTED, BROADCASTED, CONFIRMED, FAILED";
    let filter = WithdrawalFilter {
        status: query.parsed("status", statuses),
        user_id: query.text("user_id"),
        network: query.parsed("network", "needs the form of CAIP-2, such as eip155:1"),
        since: query.time("since"),
        until: query.time("until"),
    };
    let page = List::Withdrawals.read_page(&mut query);
    query.finish()?;
    Ok((filter, page))
}
