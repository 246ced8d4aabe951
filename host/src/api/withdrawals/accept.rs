//! `POST /v1/withdrawals`
//!
//! The withdrawal, its first events and the answer are one commit of the store. A request that is
//! refused writes nothing, and its key stays free.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use chrono::SubsecRound;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::domain::{Withdrawal, WithdrawalId, WithdrawalRequest};
use crate::store::{AcceptWithdrawal, Accepted, Answer, IdempotencyClaim};

use super::super::answer::{answer_repeat, respond};
use super::super::auth::Caller;
use super::super::back_pressure::check_withdrawals;
use super::super::body::read_json;
use super::super::idempotency;
use super::super::judge::JudgeError;
use super::super::problem::{FieldError, Problem, ProblemKind};
use super::super::state::{Inner, Shared};
use super::super::traceparent;
use super::super::view::WithdrawalView;
use super::fields::read_request;

const REUSED: &str = "Send a new withdrawal with a new key, or the first one's body unchanged.";

pub(in crate::api) async fn accept_withdrawal(
    State(shared): State<Shared>,
    caller: Caller,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = idempotency::key_of(&headers)?;
    let body = read_json(&headers, body, &shared.api.limits).await?;
    let claim = idempotency::claim(&caller.name, key, &method, uri.path(), &body);
    let _held = shared.in_flight.begin(&claim)?;

    let refused = match read_request(&body) {
        Ok(request) => match judge(&shared, &request).await {
            Ok(()) => return accept(&shared, request, claim, &headers).await,
            Err(problem) => problem,
        },
        Err(errors) => Problem::with_errors(ProblemKind::InvalidFields, errors),
    };
    // Rules change: what was accepted under the old ones is still answered as it was.
    match shared.api.accept.find_answer(&claim).await? {
        Some(accepted) => answer_repeat(accepted, REUSED),
        None => Err(refused),
    }
}

async fn judge(shared: &Inner, request: &WithdrawalRequest) -> Result<(), Problem> {
    check_withdrawals(shared)?;
    match shared.api.judge.judge(request).await {
        Ok(()) => Ok(()),
        Err(JudgeError::Rejected { field, reason }) => {
            let error = FieldError::new(field, "rejected", reason);
            Err(Problem::with_errors(ProblemKind::InvalidFields, vec![error]))
        }
        Err(JudgeError::Unavailable(why)) => {
            tracing::warn!(
                reason = why,
                "a withdrawal was refused because it cannot be judged now"
            );
            Err(Problem::unavailable(
                "The network cannot judge withdrawals now, so nothing was written. Send the same \
                 request again later.",
            ))
        }
    }
}

async fn accept(
    shared: &Inner,
    request: WithdrawalRequest,
    claim: IdempotencyClaim,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    // Milliseconds are what is shown: the answer says the same now and when it is asked for later.
    let now = chrono::Utc::now().trunc_subsecs(3);
    let withdrawal = Withdrawal::requested(WithdrawalId::generate(), request, now);
    let events = shared.api.flow.events(&withdrawal, Some(&traceparent::from_headers(headers)));
    let answer = answer_of(&withdrawal)?;
    let accepted = shared
        .api
        .accept
        .accept_withdrawal(AcceptWithdrawal {
            withdrawal,
            events,
            idempotency: claim,
            answer: answer.clone(),
        })
        .await?;
    match accepted {
        Accepted::Created => respond(answer, false),
        Accepted::Replayed(_) | Accepted::KeyReused => answer_repeat(accepted, REUSED),
    }
}

fn answer_of(withdrawal: &Withdrawal) -> Result<Answer, Problem> {
    let body =
        serde_json::to_string(&WithdrawalView::from(withdrawal.clone())).map_err(|error| {
            tracing::error!(%error, "a withdrawal could not be shown");
            Problem::new(ProblemKind::Internal, "The host's log says what went wrong.")
        })?;
    Ok(Answer {
        status: StatusCode::CREATED.as_u16(),
        location: format!("/v1/withdrawals/{}", withdrawal.id),
        body,
    })
}
