//! `/v1/breakers`: the circuit breakers between plugins and their targets, and what operators say
//! about them. For all hosts at once; they need no key, for a repeat changes nothing and says so.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, Uri};
use serde::Serialize;

use crate::domain::BreakerState;
use crate::store::{Breaker, BreakerKey, ControlChange, ControlNote};

use super::auth::Caller;
use super::problem::{Problem, ProblemKind};
use super::query::Query;
use super::routes::read_reason;
use super::state::Shared;
use super::view::time;

#[derive(Debug, Serialize)]
pub(super) struct BreakerListView {
    items: Vec<BreakerView>,
}

#[derive(Debug, Serialize)]
struct BreakerView {
    plugin: String,
    target: String,
    /// `closed`, `open`, `probing` (open, and the next event is a probe) or `held`.
    state: &'static str,
    /// Until the next probe.
    open_for_ms: Option<u64>,
    trips: u32,
    reason: String,
    changed_by: String,
    changed_at: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChangedBreakerView {
    plugin: String,
    target: String,
    open: bool,
    /// False if it was so already.
    changed: bool,
}

type BreakerPath = Result<Path<(String, String)>, axum::extract::rejection::PathRejection>;

pub(super) async fn list_breakers(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<BreakerListView>, Problem> {
    Query::new(&uri).finish()?;
    let breakers = shared.api.breakers.breakers().await?;
    Ok(Json(BreakerListView { items: breakers.into_iter().map(BreakerView::from).collect() }))
}

impl From<Breaker> for BreakerView {
    fn from(breaker: Breaker) -> Self {
        let (state, open_for_ms) = state_of(breaker.state);
        let trips = match breaker.state {
            BreakerState::Open { trips, .. } => trips,
            BreakerState::Closed { .. } | BreakerState::Held => 0,
        };
        Self {
            plugin: breaker.key.plugin,
            target: breaker.key.target,
            state,
            open_for_ms,
            trips,
            reason: breaker.reason,
            changed_by: breaker.changed_by,
            changed_at: time(breaker.changed_at),
        }
    }
}

/// Its name, and how long it is until the next probe.
pub(super) fn state_of(state: BreakerState) -> (&'static str, Option<u64>) {
    match state {
        BreakerState::Closed { .. } => ("closed", None),
        BreakerState::Open { left, .. } if left.is_zero() => ("probing", None),
        BreakerState::Open { left, .. } => {
            ("open", Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
        }
        BreakerState::Held => ("held", None),
    }
}

pub(super) async fn open_breaker(
    State(shared): State<Shared>,
    caller: Caller,
    path: BreakerPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChangedBreakerView>, Problem> {
    change(&shared, &caller, path, (headers, body), true).await
}

pub(super) async fn close_breaker(
    State(shared): State<Shared>,
    caller: Caller,
    path: BreakerPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChangedBreakerView>, Problem> {
    change(&shared, &caller, path, (headers, body), false).await
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    path: BreakerPath,
    (headers, body): (HeaderMap, Body),
    open: bool,
) -> Result<Json<ChangedBreakerView>, Problem> {
    let key = key_of(path)?;
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ControlNote { reason: &reason, by: &caller.name };
    let store = &shared.api.breakers;
    let change = if open {
        store.hold_breaker(&key, note).await?
    } else {
        store.let_breaker_go(&key, note).await?
    };
    let BreakerKey { plugin, target } = key;
    tracing::warn!(plugin.name = %plugin, breaker.target = %target, open, reason, by = caller.name, ?change, "a breaker is opened or closed by hand");
    let changed = change == ControlChange::Changed;
    Ok(Json(ChangedBreakerView { plugin, target, open, changed }))
}

/// A breaker can be opened before its target ever failed; a text that is no name names nothing.
fn key_of(path: BreakerPath) -> Result<BreakerKey, Problem> {
    const TARGET_BYTES_MAX: usize = 300;
    let named = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    // Whoever forgets the port would open a breaker that nobody asks.
    let is_target = |target: &str| {
        let port = target.rsplit_once(':').map(|(_, port)| port.parse::<u16>().is_ok());
        target == "messaging" || port == Some(true)
    };
    match path {
        Ok(Path((plugin, target)))
            if named(&plugin, 64) && named(&target, TARGET_BYTES_MAX) && is_target(&target) =>
        {
            Ok(BreakerKey { plugin, target: target.to_ascii_lowercase() })
        }
        Ok(_) | Err(_) => Err(Problem::new(
            ProblemKind::NotFound,
            "A breaker is named by a plugin and a target, such as partner-sync and \
             api.partner.example:443, or messaging for the broker.",
        )),
    }
}
