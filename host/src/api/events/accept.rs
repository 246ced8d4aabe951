//! `POST /v1/events`: events of any aggregate but withdrawals, one or a batch.
//!
//! All of them and the answer are one commit of the store. A request that is refused writes
//! nothing, and its key stays free.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;

use crate::domain::NewEvent;
use crate::store::{AcceptEvents, Accepted, AcceptedEvents, Answer, IdempotencyClaim};

use super::super::answer::{answer_repeat, respond};
use super::super::auth::Caller;
use super::super::back_pressure::check_events;
use super::super::body::read_body;
use super::super::idempotency;
use super::super::problem::{Problem, ProblemKind};
use super::super::state::{Inner, Limits, Shared};
use super::super::traceparent;
use super::fields::{Rules, keys_taken, read_events};
use super::sent::Sent;

/// A thousand events of 4 KiB. A larger `http.body_max` wins.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

const REUSED: &str = "Send new events with a new key, or the first ones' body unchanged.";

#[derive(Debug, Serialize)]
struct AcceptedEventsView {
    /// In the order in which they were sent.
    events: Vec<AcceptedEventView>,
}

#[derive(Debug, Serialize)]
struct AcceptedEventView {
    id: String,
    idempotency_key: String,
}

pub(in crate::api) async fn accept_events(
    State(shared): State<Shared>,
    caller: Caller,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = idempotency::key_of(&headers)?;
    let limits = shared.api.limits;
    let limits = Limits { body_bytes_max: limits.body_bytes_max.max(BODY_BYTES_MAX), ..limits };
    let bytes = read_body(&headers, body, &limits).await?;
    let sent = Sent::parse(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidJson, error.to_string()))?;
    let fingerprinted = sent.fingerprinted();
    let claim = idempotency::claim(&caller.name, key, &method, uri.path(), &fingerprinted);
    let _held = shared.in_flight.begin(&claim)?;

    let rules = Rules {
        flow: &shared.api.flow,
        now: chrono::Utc::now(),
        traceparent: &traceparent::from_headers(&headers),
    };
    let refused = match read_events(&sent, &rules) {
        Ok(events) => match check_events(&shared, &events) {
            Ok(()) => return accept(&shared, events, sent.is_batch(), claim).await,
            Err(problem) => problem,
        },
        Err(errors) => Problem::with_errors(ProblemKind::InvalidFields, errors),
    };
    // Time goes on: what was accepted while it was valid is still answered as it was.
    match shared.api.accept.find_answer(&claim).await? {
        Some(accepted) => answer_repeat(accepted, REUSED),
        None => Err(refused),
    }
}

async fn accept(
    shared: &Inner,
    events: Vec<NewEvent>,
    batch: bool,
    idempotency: IdempotencyClaim,
) -> Result<Response, Problem> {
    let answer = answer_of(&events, batch)?;
    let request = AcceptEvents { events: events.clone(), idempotency, answer: answer.clone() };
    match shared.api.accept.accept_events(request).await? {
        AcceptedEvents::As(Accepted::Created) => respond(answer, false),
        AcceptedEvents::As(before) => answer_repeat(before, REUSED),
        AcceptedEvents::EventKeysTaken(taken) => {
            let errors = keys_taken(batch, &events, &taken);
            Err(Problem::with_errors(ProblemKind::EventKeyTaken, errors))
        }
    }
}

fn answer_of(events: &[NewEvent], batch: bool) -> Result<Answer, Problem> {
    let view = AcceptedEventsView {
        events: events
            .iter()
            .map(|event| AcceptedEventView {
                id: event.id.to_string(),
                idempotency_key: event.idempotency_key.to_string(),
            })
            .collect(),
    };
    let body = serde_json::to_string(&view).map_err(|error| {
        tracing::error!(%error, "accepted events could not be shown");
        Problem::new(ProblemKind::Internal, "The host's log says what went wrong.")
    })?;
    let location = match events {
        [event] if !batch => format!("/v1/events/{}", event.id),
        _ => "/v1/events".to_owned(),
    };
    Ok(Answer { status: StatusCode::CREATED.as_u16(), location, body })
}
