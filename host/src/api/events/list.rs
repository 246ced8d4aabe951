//! `GET /v1/events`

use axum::Json;
use axum::extract::State;
use http::Uri;

use crate::domain::OutboxEvent;
use crate::store::{EventFilter, Page};

use super::super::page::{List, PageView};
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::state::Shared;
use super::super::view::EventView;
use super::waits::waits;

pub(in crate::api) async fn list_events(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<PageView<EventView>>, Problem> {
    let (filter, page) = read_query(&uri)?;
    let rows = shared.api.operate.events(&filter, page).await?;
    let waits = waits(&shared, &rows).await?;
    let view = |row: OutboxEvent| {
        let waits = waits.get(&row.id).cloned().unwrap_or_default();
        EventView::new(row, waits)
    };
    Ok(Json(List::Events.view(page, rows, |row| row.id.as_uuid(), view)))
}

fn read_query(uri: &Uri) -> Result<(EventFilter, Page), Problem> {
    let mut query = Query::new(uri);
    let statuses = "needs one of PENDING, PROCESSING, RETRYING, DONE, FAILED";
    let types = "needs 1 to 64 of A-Z, 0-9 and _, beginning with a letter";
    let filter = EventFilter {
        status: query.parsed("status", statuses),
        event_type: query.parsed("event_type", types),
        aggregate_type: query.text("aggregate_type"),
        aggregate_id: query.text("aggregate_id"),
        since: query.time("since"),
        until: query.time("until"),
    };
    let page = List::Events.read_page(&mut query);
    query.finish()?;
    Ok((filter, page))
}
