//! The body of what an operator decides: `{"reason": "…"}`, kept in the event's history.

use axum::body::Body;
use http::HeaderMap;

use super::super::body::read_json;
use super::super::json::Json;
use super::super::problem::{FieldError, Problem, ProblemKind};
use super::super::state::Limits;

const REASON_CHARS_MAX: usize = 500;

/// Who decided it, and why.
pub(super) async fn read_reason(
    who: &str,
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<String, Problem> {
    let body = read_json(headers, body, limits).await?;
    let reason = reason_of(&body)
        .map_err(|errors| Problem::with_errors(ProblemKind::InvalidFields, errors))?;
    Ok(format!("{who}: {reason}"))
}

fn reason_of(body: &Json) -> Result<&str, Vec<FieldError>> {
    let Json::Object(entries) = body else {
        let detail = format!("must be an object, and is {}", body.kind());
        return Err(vec![FieldError::new("$", "wrong_type", detail)]);
    };
    let mut errors = Vec::new();
    let mut error = |field: &str, code, detail: String| {
        errors.push(FieldError::new(field, code, detail));
        ""
    };
    let mut given = entries.iter().filter(|(key, _)| key == "reason").map(|(_, value)| value);
    let rule = "needs 1 to 500 characters and no control characters";
    let reason = match (given.next(), given.next()) {
        (None, _) => error("reason", "required", "is missing".to_owned()),
        (Some(_), Some(_)) => error("reason", "duplicate", "is given more than once".to_owned()),
        (Some(Json::Text(text)), None) if is_reason(text) => text.as_str(),
        (Some(Json::Text(_)), None) => error("reason", "invalid", rule.to_owned()),
        (Some(other), None) => {
            error("reason", "wrong_type", format!("must be a string, and is {}", other.kind()))
        }
    };
    for (key, _) in entries.iter().filter(|(key, _)| key != "reason") {
        error(key, "unknown", "is unknown; the only field is reason".to_owned());
    }
    if errors.is_empty() { Ok(reason) } else { Err(errors) }
}

fn is_reason(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= REASON_CHARS_MAX
        && !text.chars().any(char::is_control)
}
